# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sluice_global_optspecs
    string join \n c/config= socket= color= h/help V/version
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

complete -c sluice -n "__fish_sluice_needs_command" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_needs_command" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_needs_command" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_needs_command" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_needs_command" -s V -l version -d 'Print version'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "check" -d 'Validate a configuration and report all problems'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "digest" -d 'Print a short hash of the services of a file, to compare nodes'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "plan" -d 'Show what would change in the kernel, and why'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "apply" -d 'Apply the configuration once, without the daemon'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "render" -d 'Print the ruleset of a configuration'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "status" -d 'Show services, backends and the state of the kernel'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "ready" -d 'Tell whether services are ready: in sync, and with their quorum'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "top" -d 'Show all backends live: sort, filter, drain'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "connections" -d 'Show live connections, of all services, of one, or of one backend'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "reload" -d 'Reload the configuration of the daemon and wait until it is applied'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "drain" -d 'Stop sending new connections to backends; existing ones continue'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "enable" -d 'Undo drain or disable: backends get new connections again; a weight override stays'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "disable" -d 'Take backends out of service, as if they were not in the file'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "weight" -d 'Override the weight of backends'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "reset" -d 'Remove all overrides of backends: admin state and weight are those of the file again'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "overrides" -d 'List the overrides of backends: what was changed, by whom, when and why'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "leave" -d 'Withdraw all announced addresses, until `sluice join`; traffic that still arrives is served'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "join" -d 'Undo `sluice leave`: addresses are announced again when their services have been ready for `announce.hold`'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "events" -d 'Show recent events: changes of health, reloads, overrides, and changes by others'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "explain" -d 'Show which backend a connection gets, and why'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "doctor" -d 'Find settings of this host that break services'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "cleanup" -d 'Remove everything that sluice has put into the kernel'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "man" -d 'Print a manual page as roff'
complete -c sluice -n "__fish_sluice_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sluice -n "__fish_sluice_using_subcommand check" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand check" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand check" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand check" -l json -d 'Print the result as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand digest" -l compare -d 'Compare with the digest of another node' -r
complete -c sluice -n "__fish_sluice_using_subcommand digest" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand digest" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand digest" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand digest" -l json -d 'Print the result as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand digest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand plan" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand plan" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand plan" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand plan" -l json -d 'Print the plan as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand apply" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand apply" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand apply" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand apply" -l json -d 'Print what changed as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand render" -l format -d 'Output format' -r -f -a "nft\t'nft syntax, for `nft -f` if the table does not exist yet'
iptables\t'iptables rules with the statistic module, for `iptables-restore --noflush`'
json\t'Structure of the table, and the service and backend of each element'"
complete -c sluice -n "__fish_sluice_using_subcommand render" -l family -d 'IP version of the iptables format [default: ip]' -r -f -a "ip\t'IPv4, for iptables-restore'
ip6\t'IPv6, for ip6tables-restore'"
complete -c sluice -n "__fish_sluice_using_subcommand render" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand render" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand render" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand render" -l json -d 'As --format json'
complete -c sluice -n "__fish_sluice_using_subcommand render" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand status" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand status" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand status" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand status" -s w -l watch -d 'Refresh every second, with new connections per second and recent events, until Ctrl-C'
complete -c sluice -n "__fish_sluice_using_subcommand status" -l problems -d 'Only what is wrong: services that are not ready, and backends that are down or overridden'
complete -c sluice -n "__fish_sluice_using_subcommand status" -l check -d 'Print nothing if all is well, and otherwise what is wrong; the exit code is 3 then'
complete -c sluice -n "__fish_sluice_using_subcommand status" -l no-headers -d 'Do not print the titles of columns'
complete -c sluice -n "__fish_sluice_using_subcommand status" -l json -d 'Print the daemon\'s response as JSON; with --watch one object per line'
complete -c sluice -n "__fish_sluice_using_subcommand status" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand ready" -l timeout -d 'Maximum time to wait for sluiced, such as 2s; a daemon that does not respond is not ready' -r
complete -c sluice -n "__fish_sluice_using_subcommand ready" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand ready" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand ready" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand ready" -l json -d 'Print the result as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand ready" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand top" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand top" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand top" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l client -d 'Only connections of this client' -r
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l state -d 'Only connections in this state, named as in the output' -r
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l limit -d 'Maximum number of connections to show' -r
complete -c sluice -n "__fish_sluice_using_subcommand connections" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l no-headers -d 'Do not print the titles of columns'
complete -c sluice -n "__fish_sluice_using_subcommand connections" -l json -d 'Print the daemon\'s response as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand connections" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand reload" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand reload" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand reload" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand reload" -l json -d 'Print the daemon\'s response as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l reason -d 'Reason, shown by `sluice status` and `sluice overrides`' -r
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l timeout -d 'Maximum time to wait, such as 90s, 5m or 1h: then the exit code is 3' -r
complete -c sluice -n "__fish_sluice_using_subcommand drain" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l json -d 'Print the new state of the backends as JSON, one object per line'
complete -c sluice -n "__fish_sluice_using_subcommand drain" -l wait -d 'Wait until the backends have no live connections'
complete -c sluice -n "__fish_sluice_using_subcommand drain" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand enable" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand enable" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand enable" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand enable" -l json -d 'Print the new state of the backends as JSON, one object per line'
complete -c sluice -n "__fish_sluice_using_subcommand enable" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand disable" -l reason -d 'Reason, shown by `sluice status` and `sluice overrides`' -r
complete -c sluice -n "__fish_sluice_using_subcommand disable" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand disable" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand disable" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand disable" -l json -d 'Print the new state of the backends as JSON, one object per line'
complete -c sluice -n "__fish_sluice_using_subcommand disable" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand weight" -l reason -d 'Reason, shown by `sluice status` and `sluice overrides`' -r
complete -c sluice -n "__fish_sluice_using_subcommand weight" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand weight" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand weight" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand weight" -l json -d 'Print the new state of the backends as JSON, one object per line'
complete -c sluice -n "__fish_sluice_using_subcommand weight" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand reset" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand reset" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand reset" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand reset" -l json -d 'Print the new state of the backends as JSON, one object per line'
complete -c sluice -n "__fish_sluice_using_subcommand reset" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand overrides" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand overrides" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand overrides" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand overrides" -l no-headers -d 'Do not print the titles of columns'
complete -c sluice -n "__fish_sluice_using_subcommand overrides" -l json -d 'Print them as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand overrides" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand leave" -l wait -d 'Wait until no backend has live connections, at most for this time, such as 90s, 5m or 1h: then the exit code is 3' -r
complete -c sluice -n "__fish_sluice_using_subcommand leave" -l reason -d 'Reason, shown by `sluice status` and `sluice overrides`' -r
complete -c sluice -n "__fish_sluice_using_subcommand leave" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand leave" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand leave" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand leave" -l json -d 'Print the new state as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand leave" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand join" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand join" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand join" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand join" -l json -d 'Print the new state as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand join" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand events" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand events" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand events" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand events" -s f -l follow -d 'Go on and print events as they happen, until Ctrl-C'
complete -c sluice -n "__fish_sluice_using_subcommand events" -l json -d 'Print them as JSON, one object per line'
complete -c sluice -n "__fish_sluice_using_subcommand events" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand explain" -s i -l interface -d 'Input interface [default: that of the route to the client]' -r
complete -c sluice -n "__fish_sluice_using_subcommand explain" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand explain" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand explain" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand explain" -l local -d 'The client is this host'
complete -c sluice -n "__fish_sluice_using_subcommand explain" -l json -d 'Print the explanation as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -l fail-on -d 'Least severity for which the exit code is 3' -r -f -a "error\t'A service does not work'
warning\t'A service may stop working, or fails for some clients'
note\t'Expected on many hosts, but not on all'"
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -l json -d 'Print the findings as JSON'
complete -c sluice -n "__fish_sluice_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -l state -d 'State directory [default: `state` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand cleanup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand completions" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand completions" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand completions" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand completions" -s h -l help -d 'Print help'
complete -c sluice -n "__fish_sluice_using_subcommand man" -s c -l config -d 'Configuration file [default: /etc/sluice/sluice.yaml]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand man" -l socket -d 'Control socket of the daemon [default: `control.socket` of the configuration file]' -r -F
complete -c sluice -n "__fish_sluice_using_subcommand man" -l color -d 'When to colour the output: auto is on terminals, unless NO_COLOR is set' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sluice -n "__fish_sluice_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "check" -d 'Validate a configuration and report all problems'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "digest" -d 'Print a short hash of the services of a file, to compare nodes'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "plan" -d 'Show what would change in the kernel, and why'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "apply" -d 'Apply the configuration once, without the daemon'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "render" -d 'Print the ruleset of a configuration'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "status" -d 'Show services, backends and the state of the kernel'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "ready" -d 'Tell whether services are ready: in sync, and with their quorum'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "top" -d 'Show all backends live: sort, filter, drain'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "connections" -d 'Show live connections, of all services, of one, or of one backend'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "reload" -d 'Reload the configuration of the daemon and wait until it is applied'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "drain" -d 'Stop sending new connections to backends; existing ones continue'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "enable" -d 'Undo drain or disable: backends get new connections again; a weight override stays'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "disable" -d 'Take backends out of service, as if they were not in the file'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "weight" -d 'Override the weight of backends'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "reset" -d 'Remove all overrides of backends: admin state and weight are those of the file again'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "overrides" -d 'List the overrides of backends: what was changed, by whom, when and why'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "leave" -d 'Withdraw all announced addresses, until `sluice join`; traffic that still arrives is served'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "join" -d 'Undo `sluice leave`: addresses are announced again when their services have been ready for `announce.hold`'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "events" -d 'Show recent events: changes of health, reloads, overrides, and changes by others'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "explain" -d 'Show which backend a connection gets, and why'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "doctor" -d 'Find settings of this host that break services'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "cleanup" -d 'Remove everything that sluice has put into the kernel'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "man" -d 'Print a manual page as roff'
complete -c sluice -n "__fish_sluice_using_subcommand help; and not __fish_seen_subcommand_from check digest plan apply render status ready top connections reload drain enable disable weight reset overrides leave join events explain doctor cleanup completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'

# Prints names of services and backends, which the daemon knows.
function __sluice_names
    set -l words (commandline -opc)
    command $words[1] __complete $words[2..] (commandline -ct | string unescape | string collect --allow-empty) 2>/dev/null
end

complete -c sluice -n "__fish_sluice_using_subcommand status ready connections drain enable disable weight reset" -f -a "(__sluice_names)"
