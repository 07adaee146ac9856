# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_scan -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_scan -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_scan -l help -s h -d 'Print this help.'
complete -c thin_scan -l version -s V -d 'Print the version.'
complete -c thin_scan -l begin -r -d 'Begin at this block.'
complete -c thin_scan -l end -r -d 'End before this block.'
complete -c thin_scan -l metadata-snap -s m -d 'Only list what the metadata snapshot is made of; the pool may be in use.'
complete -c thin_scan -l examine-corruption -d 'Only list blocks that are damaged, misplaced or wrongly counted.'
complete -c thin_scan -l format -x -a 'text json' -d 'A table (text), or an object a line (json).'
complete -c thin_scan -l output -s o -r -d 'Write to a file; it appears only if all went well.'
