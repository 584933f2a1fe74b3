# bash completion for latchkey, latchkey-agent and latchkey-gpg
_latchkey_keys()
{
    latchkey keys --fingerprint 2>/dev/null | awk '{ if ($2 != "-") print $2; if ($4 != "-") print $4 }'
}

_latchkey()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
    case ${COMP_WORDS[1]} in
    status) words="--json --help" ;;
    keys)
        case $prev in
        -o | --output) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        esac
        words="--json --ssh --fingerprint --openpgp --output --help"
        ;;
    log) words="--follow --lines --json --help" ;;
    lock | unlock | reload) words="--help" ;;
    policy)
        if [ "$COMP_CWORD" -eq 2 ]; then
            words="check explain show --help"
        elif [ "${COMP_WORDS[2]}" = check ]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        elif [ "$prev" = --key ]; then
            words=$(_latchkey_keys)
        elif [ "$prev" = --use ]; then
            words="ssh-auth sshsig:git ssh-ca sudo host-key git-commit git-tag openpgp-sign decrypt import delete raw"
        elif [ "${COMP_WORDS[2]}" = explain ]; then
            words="--host --user --key --use --client --forwarded --unbound --last --help"
        fi
        ;;
    *) words="status keys lock unlock policy reload log help --help --version" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _latchkey latchkey

_latchkey_agent()
{
    mapfile -t COMPREPLY < <(compgen -W "-a -c -s -k -D -d -t --foreground --daemon --log-file --help --version" -- \
        "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _latchkey_agent latchkey-agent
