"""One private pcscd with one card, until interrupted."""
import sys

from . import Bench, Card, Pcscd


def main():
    bench = Bench()
    try:
        pcscd = Pcscd(bench)
        card = Card(pcscd, *sys.argv[1:])
        print(f"export PCSCLITE_CSOCK_NAME={pcscd.socket}")
        print(f"# the card's control socket: {card.control}", flush=True)
        card.process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        bench.close()


main()
