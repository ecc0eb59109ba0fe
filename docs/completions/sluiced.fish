complete -c sluiced -s c -l config -d 'Configuration file' -r -F
complete -c sluiced -l log-format -d 'Format of the log on standard error' -r -f -a "text\t'For people; structured entries when standard error is the journal'
json\t'One JSON object per line'"
complete -c sluiced -l log-level -d 'Lowest severity to log: error, warn, info, debug or trace' -r
complete -c sluiced -l check -d 'Check the configuration, print all errors and exit'
complete -c sluiced -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sluiced -s V -l version -d 'Print version'
