# fish completion for latchkey; latchkey-agent and latchkey-gpg have files of their own that load this one
set -l commands status keys lock unlock policy reload log token help
set -l subcommands check show explain

function __latchkey_keys
    latchkey keys --fingerprint 2>/dev/null | awk '{ if ($2 != "-") print $2; if ($4 != "-") print $4 }'
end

function __latchkey_tokens
    latchkey status 2>/dev/null | awk 'in_tokens && /^  [^ ]/ { print $1 } /^tokens/ { in_tokens = 1 }'
end

complete -c latchkey -f
complete -c latchkey -s h -l help -d "help"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -s V -l version -d "version"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a status -d "show lock, policy and tokens"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a keys -d "list keys, or make an OpenPGP certificate"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a lock -d "lock the agent"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a unlock -d "unlock the agent"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a policy -d "check, show or explain the policy"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a reload -d "read the policy again"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a log -d "show the audit log"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a token -d "list and manage tokens"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a help -d "tell about a command"
complete -c latchkey -n "__fish_seen_subcommand_from help" -a "$commands"

complete -c latchkey -n "__fish_seen_subcommand_from status keys log" -s j -l json -d "as JSON"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -s s -l ssh -d "lines for authorized_keys"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -s f -l fingerprint -d "a line of fingerprints a key"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -s O -l openpgp -x -d "OpenPGP certificate for this user id"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -s o -l output -r -F -d "where to write it"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -a "(__latchkey_tokens)" -d token
complete -c latchkey -n "__fish_seen_subcommand_from keys" -a "(__latchkey_keys)" -d key
complete -c latchkey -n "__fish_seen_subcommand_from log" -s f -l follow -d "go on with what is written from now on"
complete -c latchkey -n "__fish_seen_subcommand_from log" -s n -l lines -x -d "the last N records"

complete -c latchkey -n "__fish_seen_subcommand_from policy; and not __fish_seen_subcommand_from $subcommands" -a check -d "tell the errors of policy files"
complete -c latchkey -n "__fish_seen_subcommand_from policy; and not __fish_seen_subcommand_from $subcommands" -a show -d "print the rules in force"
complete -c latchkey -n "__fish_seen_subcommand_from policy; and not __fish_seen_subcommand_from $subcommands" -a explain -d "tell where each setting comes from"
complete -c latchkey -n "__fish_seen_subcommand_from check" -F
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s l -l last -d "what was just asked"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s H -l host -x -a "(__fish_print_hostnames)" -d "the destination, taken as proven"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s b -l unbound -d "the destination is not proven"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s u -l user -x -a "(__fish_complete_users)" -d "the remote user"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s k -l key -x -a "(__latchkey_keys)" -d "the key"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s s -l use -x -a "ssh-auth sshsig sshsig:git ssh-ca sudo host-key key-test git-commit git-tag openpgp-sign decrypt export import generate delete card-admin raw" -d "what is asked for"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s c -l client -r -F -d "the asking program"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -s f -l forwarded -d "over a forwarded agent"

set -l managing list identity forget piv fido enroll-presence presence
complete -c latchkey -n "__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from $managing" -a list -d "tokens and what they can do"
complete -c latchkey -n "__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from $managing" -a piv -d "manage the PIV application of a token"
complete -c latchkey -n "__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from $managing" -a forget -d "forget what is remembered of a token"
complete -c latchkey -n "__fish_seen_subcommand_from token; and __fish_seen_subcommand_from forget" -a "(__latchkey_tokens)" -d token
complete -c latchkey -n "__fish_seen_subcommand_from token; and __fish_seen_subcommand_from list" -s j -l json -d "as JSON"

set -l piv status generate certificate import delete change-pin change-puk unblock reset
set -l in_piv "__fish_seen_subcommand_from token; and __fish_seen_subcommand_from piv"
complete -c latchkey -n "$in_piv; and not __fish_seen_subcommand_from $piv" -a "$piv"
complete -c latchkey -n "$in_piv" -s t -l token -x -a "(__latchkey_tokens)" -d "which token"
set -l making "$in_piv; and __fish_seen_subcommand_from generate import"
set -l certifying "$in_piv; and __fish_seen_subcommand_from generate import certificate"
complete -c latchkey -n "$in_piv; and __fish_seen_subcommand_from generate import certificate delete" -a "9a 9c 9d 9e" -d slot
complete -c latchkey -n "$in_piv; and __fish_seen_subcommand_from import" -F
complete -c latchkey -n "$in_piv; and __fish_seen_subcommand_from generate" -s a -l algorithm -x -a "nistp256 nistp384 rsa2048 rsa3072 rsa4096 ed25519 x25519" -d "kind of key"
complete -c latchkey -n "$making" -s p -l pin-policy -x -a "never once always" -d "when the PIN is wanted"
complete -c latchkey -n "$making" -s T -l touch-policy -x -a "never always cached" -d "when a touch is wanted"
complete -c latchkey -n "$making" -s f -l force -d "where a key is, too"
complete -c latchkey -n "$making" -s N -l no-certificate -d "make none"
complete -c latchkey -n "$certifying" -s n -l name -x -d "common name of the certificate"
complete -c latchkey -n "$certifying" -s d -l days -x -d "days that it is valid"

set -l fido info keys delete generate set-pin
set -l in_token "__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from $managing"
complete -c latchkey -n "$in_token" -a fido -d "manage FIDO tokens"
complete -c latchkey -n "$in_token" -a enroll-presence -d "enroll a FIDO token for StandIn fido"
complete -c latchkey -n "$in_token" -a presence -d "list or forget those that are enrolled"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and not __fish_seen_subcommand_from $fido" -a "$fido"
complete -c latchkey -n "__fish_seen_subcommand_from enroll-presence" -s n -l name -x -d "what to call it"
complete -c latchkey -n "__fish_seen_subcommand_from presence" -s j -l json -d "as JSON"
complete -c latchkey -n "__fish_seen_subcommand_from presence" -s F -l forget -x -d "one whose touch counts no longer"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s f -l file -r -F -d "where the key goes"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s t -l type -x -a "ed25519 ecdsa" -d "kind of key"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s a -l application -x -d "ssh: and a word"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s C -l comment -x -d "in both files"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s r -l resident -d "the token keeps it"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s u -l user -x -d "tells resident keys apart"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s v -l verify-required -d "each use takes the PIN"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s n -l no-touch-required -d "uses take no touch"
complete -c latchkey -n "__fish_seen_subcommand_from fido; and __fish_seen_subcommand_from generate" -s F -l force -d "in the place of a resident one"

complete -c latchkey -n "__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from $managing" -a identity -d "what hardware wallets have keys for"
set -l identity "__fish_seen_subcommand_from token; and __fish_seen_subcommand_from identity"
set -l identity_commands list add remove read
complete -c latchkey -n "$identity; and not __fish_seen_subcommand_from $identity_commands" -a list -d "identities and their keys"
complete -c latchkey -n "$identity; and not __fish_seen_subcommand_from $identity_commands" -a add -d "have a key for an identity"
complete -c latchkey -n "$identity; and not __fish_seen_subcommand_from $identity_commands" -a remove -d "forget an identity"
complete -c latchkey -n "$identity; and not __fish_seen_subcommand_from $identity_commands" -a read -d "read public keys from wallets"
complete -c latchkey -n "$identity; and __fish_seen_subcommand_from add remove read" -a "nist256p1 ed25519" -d curve
complete -c latchkey-agent -s a -r -F -d "listen there"
complete -c latchkey-agent -s c -d "variables for csh"
complete -c latchkey-agent -s s -d "variables for sh"
complete -c latchkey-agent -s k -d "end the agent"
complete -c latchkey-agent -s D -d "stay in the foreground"
complete -c latchkey-agent -s d -d "foreground, log to standard error"
complete -c latchkey-agent -s t -x -d "life of added keys"
complete -c latchkey-agent -s u -d "remove sockets that killed agents left behind"
complete -c latchkey-agent -s U -d "leave them"
complete -c latchkey-agent -s T -d "sockets below TMPDIR"
complete -c latchkey-agent -s E -x -a sha256 -d "hash for fingerprints"
complete -c latchkey-agent -s P -x -d "allowed providers"
complete -c latchkey-agent -s O -x -a "allow-remote-pkcs11 no-restrict-websafe websafe-allow=" -d option
complete -c latchkey-agent -s v -l verbose
complete -c latchkey-agent -l foreground -d "as a service"
complete -c latchkey-agent -l daemon -d "as a service, in the background"
complete -c latchkey-agent -l log-file -r -F -d "log there"
complete -c latchkey-agent -l help
complete -c latchkey-agent -l version

complete -c latchkey-gpg -w gpg
