set -l commands status keys lock unlock policy reload log help
complete -c latchkey -f
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a status -d "show lock, policy and tokens"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a keys -d "list keys, or make an OpenPGP certificate"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a lock -d "lock the agent"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a unlock -d "unlock the agent"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a policy -d "check, show or explain the policy"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a reload -d "read the policy again"
complete -c latchkey -n "not __fish_seen_subcommand_from $commands" -a log -d "show the audit log"
complete -c latchkey -n "__fish_seen_subcommand_from status keys log" -l json -d "as JSON"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -l ssh -d "lines for authorized_keys"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -l fingerprint
complete -c latchkey -n "__fish_seen_subcommand_from keys" -l openpgp -x -d "OpenPGP certificate for this user id"
complete -c latchkey -n "__fish_seen_subcommand_from keys" -s o -l output -r
complete -c latchkey -n "__fish_seen_subcommand_from log" -s f -l follow
complete -c latchkey -n "__fish_seen_subcommand_from log" -s n -l lines -x
complete -c latchkey -n "__fish_seen_subcommand_from policy" -a "check show explain"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -l host -x -a "(__fish_print_hostnames)"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -l user -x
complete -c latchkey -n "__fish_seen_subcommand_from explain" -l key -x
complete -c latchkey -n "__fish_seen_subcommand_from explain" -l use -x -a "ssh-auth sshsig:git ssh-ca sudo host-key git-commit git-tag openpgp-sign raw"
complete -c latchkey -n "__fish_seen_subcommand_from explain" -l client -r
complete -c latchkey -n "__fish_seen_subcommand_from explain" -l forwarded -l unbound -l last
