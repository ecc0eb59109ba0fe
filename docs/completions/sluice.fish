# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sluice_global_optspecs
    string join \n c/config= socket= h/help V/version
end

function __fish_sluice_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sluice_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sluice_using_subcommand
    set -l cmd (__fish_sluice_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sluice -n "__fish_sluice_needs_command" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_needs_command" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_needs_command" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_needs_command" -s V -l version -d 'Print version'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "check" -d 'Check a configuration and report all its problems'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "plan" -d 'Show what would change in the kernel, and why'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "apply" -d 'Make the kernel as configured, once, without a daemon'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "render" -d 'Print the ruleset that a configuration asks for'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "status" -d 'Show services, their backends and what is in the kernel'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "top" -d 'Show all backends live: sort, filter, drain'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "connections" -d 'Show live connections, of all services, of one, or of one backend'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "reload" -d 'Have the daemon take its configuration file, and wait until the kernel has it'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "drain" -d 'Give backends no new connections; those they have go on'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "enable" -d 'Take back a drain or disable: backends get new connections again, with the weight that they have'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "disable" -d 'Treat backends as if they were not in the file'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "weight" -d 'Give a backend another weight than the file\'s'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "explain" -d 'Say why a connection goes where it goes'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "doctor" -d 'Find out what on this host breaks the services'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "cleanup" -d 'Remove everything sluice has put in the kernel'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "man" -d 'Print a page of the manual, for man to show'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sluice -n "__fish_sluice_using_subcommand check" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand check" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand check" -l json -d 'Print the result as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand plan" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand plan" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand plan" -l json -d 'Print the plan as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand apply" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand apply" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand apply" -l json -d 'Print what changed as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand render" -l format -d 'What to print' -r -f -a "nft\t'The table as `nft -f` loads it where there is none yet'
iptables\t'The classic recipe with shares that are right, for `iptables-restore --noflush`'
json\t'The table\'s structure, and whom each element serves'"
complete -c sluice -n "__fish_sluice_using_subcommand render" -l family -d 'IP version of the iptables format [default: ip]' -r -f -a "ip\t'IPv4, for iptables-restore'
ip6\t'IPv6, for ip6tables-restore'"
complete -c sluice -n "__fish_sluice_using_subcommand render" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand render" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand render" -l json -d 'As --format json'
complete -c sluice -n "__fish_sluice_using_subcommand render" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand status" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand status" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand status" -s w -l watch -d 'Show it every second, with new connections per second and the last events, until Ctrl-C'
complete -c sluice -n "__fish_sluice_using_subcommand status" -l json -d 'Print the daemon\'s answer as JSON; with --watch an object a line'
complete -c sluice -n "__fish_sluice_using_subcommand status" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand top" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand top" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l limit -d 'Show so many at most' -r
complete -c sluice -n "__fish_sluice_using_subcommand connections" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l json -d 'Print the daemon\'s answer as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand connections" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand reload" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand reload" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand reload" -l json -d 'Print the daemon\'s answer as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand drain" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l json -d 'Print the backends\' new state as JSON, an object a line'
complete -c sluice -n "__fish_sluice_using_subcommand drain" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand enable" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand enable" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand enable" -l json -d 'Print the backends\' new state as JSON, an object a line'
complete -c sluice -n "__fish_sluice_using_subcommand enable" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand disable" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand disable" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand disable" -l json -d 'Print the backends\' new state as JSON, an object a line'
complete -c sluice -n "__fish_sluice_using_subcommand disable" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand weight" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand weight" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand weight" -l json -d 'Print the backend\'s new state as JSON, on one line'
complete -c sluice -n "__fish_sluice_using_subcommand weight" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand explain" -s i -l interface -d 'Interface it arrives on [default: the one that leads back to the client]' -r
complete -c sluice -n "__fish_sluice_using_subcommand explain" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand explain" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand explain" -l local -d 'It comes from this machine itself'
complete -c sluice -n "__fish_sluice_using_subcommand explain" -l json -d 'Print the explanation as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -l json -d 'Print the findings as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -l state -d 'State directory, instead of the one that the configuration file names' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand completions" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand completions" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand completions" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand man" -s c -l config -d 'Configuration file where no other is named [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand man" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "check" -d 'Check a configuration and report all its problems'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "plan" -d 'Show what would change in the kernel, and why'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "apply" -d 'Make the kernel as configured, once, without a daemon'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "render" -d 'Print the ruleset that a configuration asks for'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "status" -d 'Show services, their backends and what is in the kernel'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "top" -d 'Show all backends live: sort, filter, drain'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "connections" -d 'Show live connections, of all services, of one, or of one backend'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "reload" -d 'Have the daemon take its configuration file, and wait until the kernel has it'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "drain" -d 'Give backends no new connections; those they have go on'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "enable" -d 'Take back a drain or disable: backends get new connections again, with the weight that they have'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "disable" -d 'Treat backends as if they were not in the file'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "weight" -d 'Give a backend another weight than the file\'s'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "explain" -d 'Say why a connection goes where it goes'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "doctor" -d 'Find out what on this host breaks the services'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "cleanup" -d 'Remove everything sluice has put in the kernel'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "man" -d 'Print a page of the manual, for man to show'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check plan apply render status top connections reload drain enable disable weight explain doctor cleanup completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
