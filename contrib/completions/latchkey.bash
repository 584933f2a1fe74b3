# bash completion for latchkey, latchkey-agent and latchkey-gpg

# Names that `latchkey keys` and `policy explain --key` take: SHA256 and OpenPGP fingerprints; with "tokens", tokens, too.
_latchkey_keys()
{
    latchkey keys --fingerprint 2>/dev/null | awk '{ if ($2 != "-") print $2; if ($4 != "-") print $4 }'
    [ "$1" = tokens ] && latchkey status 2>/dev/null | awk 'in_tokens && /^  [^ ]/ { print $1 } /^tokens/ { in_tokens = 1 }'
}

_latchkey_tokens()
{
    latchkey token list 2>/dev/null | awk '{ print $1 }'
}

_latchkey_options()
{
    case $1 in
    "token piv generate")
        echo "--token --algorithm --pin-policy --touch-policy --name --days --force --no-certificate --help"
        ;;
    "token piv import") echo "--token --pin-policy --touch-policy --name --days --force --no-certificate --help" ;;
    "token piv certificate") echo "--token --name --days --help" ;;
    "token piv "*) echo "--token --help" ;;
    status | "token list" | "token identity list" | "token fido info" | "token fido keys") echo "--json --help" ;;
    "token enroll-presence") echo "--name --help" ;;
    "token presence") echo "--json --forget --help" ;;
    "token fido generate")
        echo "--file --type --application --comment --resident --user --verify-required --no-touch-required --force --help"
        ;;
    keys) echo "--json --ssh --fingerprint --openpgp --output --help" ;;
    log) echo "--follow --lines --json --help" ;;
    "policy explain") echo "--host --user --key --use --client --forwarded --unbound --last --help" ;;
    *) echo "--help" ;;
    esac
}

_latchkey()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} words=
    local slots="9a 9c 9d 9e 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f 90 91 92 93 94 95"
    local first="status keys lock unlock policy reload log token help --help --version"

    if [ "$cur" = ":" ] || [ "$prev" = ":" ]; then
        return # bash splits words at ":"; there is nothing of ours behind one
    fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$first" -- "$cur")
        return
    fi
    case $command in policy | token) [ "$COMP_CWORD" -gt 2 ] && command="$command ${COMP_WORDS[2]}" ;; esac
    [ "$command" = "token piv" ] && [ "$COMP_CWORD" -gt 3 ] && command="token piv ${COMP_WORDS[3]}"
    [ "$command" = "token fido" ] && [ "$COMP_CWORD" -gt 3 ] && command="$command ${COMP_WORDS[3]}"
    case $command in "token identity") [ "$COMP_CWORD" -gt 3 ] && command="$command ${COMP_WORDS[3]}" ;; esac
    case $command:$prev in
    "token fido generate:--file" | "token fido generate:-f")
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    "token fido generate:--type" | "token fido generate:-t") words="ed25519 ecdsa" ;;
    "token fido":*) words="info keys delete generate set-pin --help" ;;
    keys:--output | keys:-o)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    "policy explain:--client" | "policy explain:-c")
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -c -- "$cur"; compgen -f -- "$cur")
        return
        ;;
    "policy explain:--host" | "policy explain:-H")
        mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur")
        return
        ;;
    "policy explain:--key" | "policy explain:-k") words=$(_latchkey_keys) ;;
    "policy explain:--user" | "policy explain:-u") words=$(compgen -u) ;;
    "policy explain:--use" | "policy explain:-s")
        words="ssh-auth sshsig sshsig:git ssh-ca sudo host-key key-test git-commit git-tag openpgp-sign decrypt export import generate delete card-admin raw"
        ;;
    keys:--openpgp | keys:-O | log:--lines | log:-n) return ;;
    "policy check":*)
        compopt -o filenames
        case $cur in
        -*) words=$(_latchkey_options "$command") ;;
        *)
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        esac
        ;;
    policy:*) words="check show explain --help" ;;
    "help:policy" | "help policy:"*) words="check show explain" ;;
    help:help) words="status keys lock unlock policy reload log token" ;;
    "token identity":*) words="list add remove read --help" ;;
    "token identity "[ar]*:*) words="nist256p1 ed25519 --help" ;;
    token:*) words="list identity piv forget fido enroll-presence presence --help" ;;
    "token forget":*)
        words=$(_latchkey_options "$command")
        case $cur in -*) ;; *) words="$words $(_latchkey_tokens)" ;; esac
        ;;
    "token piv":*) words="status generate certificate import delete change-pin change-puk unblock reset --help" ;;
    "token piv "*:--token | "token piv "*:-t) words=$(_latchkey_tokens) ;;
    "token piv "*:--algorithm | "token piv "*:-a) words="nistp256 nistp384 rsa2048 rsa3072 rsa4096 ed25519 x25519" ;;
    "token piv "*:--pin-policy | "token piv "*:-p) words="never once always" ;;
    "token piv "*:--touch-policy | "token piv "*:-T) words="never always cached" ;;
    "token piv generate":* | "token piv certificate":* | "token piv delete":*)
        words=$(_latchkey_options "$command")
        case $cur in -*) ;; *) words="$words $slots" ;; esac
        ;;
    "token piv import":*)
        words=$(_latchkey_options "$command")
        case $cur in
        -*) ;;
        *)
            if [ "$prev" = import ]; then
                words="$words $slots"
            else
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                return
            fi
            ;;
        esac
        ;;
    keys:*)
        words=$(_latchkey_options keys)
        case $cur in -*) ;; *) words="$words $(_latchkey_keys tokens)" ;; esac
        ;;
    *) words=$(_latchkey_options "$command") ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _latchkey latchkey

_latchkey_agent()
{
    local cur=${COMP_WORDS[COMP_CWORD]}
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    -a | --log-file)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    -O) mapfile -t COMPREPLY < <(compgen -W "allow-remote-pkcs11 no-restrict-websafe websafe-allow=" -- "$cur") ;;
    -E) mapfile -t COMPREPLY < <(compgen -W "sha256" -- "$cur") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "-a -c -s -k -u -D -d -t -E -O -P -T -U -v --foreground --daemon --log-file --verbose --help --version" -- "$cur") ;;
    esac
}
complete -o default -F _latchkey_agent latchkey-agent

# gpg's options, where gpg's completion is there
_latchkey_gpg()
{
    if ! declare -F _gpg >/dev/null && declare -F _completion_loader >/dev/null; then
        _completion_loader gpg >/dev/null 2>&1
    fi
    if declare -F _gpg >/dev/null; then
        _gpg "$@"
    else
        mapfile -t COMPREPLY < <(compgen -W "--detach-sign --armor --local-user --output --textmode --status-fd --yes --help" -- \
            "${COMP_WORDS[COMP_CWORD]}")
    fi
}
complete -o default -F _latchkey_gpg latchkey-gpg
