# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_trim -l verbose -s v -d 'Log what is done, with timestamps; repeat for more detail.'
complete -c thin_trim -l quiet -s q -d 'Suppress all messages.'
complete -c thin_trim -l progress -d 'Print progress even if standard error is not a terminal: a line every 5 seconds.'
complete -c thin_trim -l help -s h -d 'Print this help.'
complete -c thin_trim -l version -s V -d 'Print the version.'
complete -c thin_trim -l metadata-dev -r -d 'Metadata device or file.'
complete -c thin_trim -l data-dev -r -d 'Data device, or an image of it. Not needed with --dry-run.'
complete -c thin_trim -l dry-run -d 'Report what would be done; write nothing.'
complete -c thin_trim -l format -x -a 'text json' -d 'Output format of --dry-run.'
