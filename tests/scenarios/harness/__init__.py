"""The bench for scenarios: a private home, pcscd, cards, sshd, people and agents, each ended by its pid.

A card by hand, from the top of the tree, after `make`:

    BUILD=build PYTHONPATH=tests/scenarios python3 -m harness.byhand gnuk --key sig=ed25519 --key aut=ed25519

prints the variables to set (PCSCLITE_CSOCK_NAME ..) and keeps pcscd and the card until it is interrupted."""
from .agent import Agent
from .agentclient import AgentClient, HostKey
from .authority import Authority
from .bench import Bench, Skip, run, wait_until
from .card import Card, Pcscd
from .gpg import Gpg
from .gpgpinentry import GpgPinentry
from .ledger import Ledger
from .person import Person, ScriptedPinentry
from .scdaemon import Scdaemon
from .securitykey import Middleware, SecurityKey
from .softhsm import AskPass, SoftHsm
from .sshd import Sshd
from .token import Token
from .wallet import Trezor

__all__ = ["Agent", "AgentClient", "AskPass", "Authority", "Bench", "Card", "Gpg", "GpgPinentry", "HostKey", "Ledger", "Middleware", "Pcscd",
           "Person", "Scdaemon", "ScriptedPinentry", "SecurityKey", "Skip", "SoftHsm", "Sshd", "Token", "Trezor", "run", "wait_until"]
