# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_trim -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_trim -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_trim -l help -s h -d 'Print this help.'
complete -c thin_trim -l version -s V -d 'Print the version.'
complete -c thin_trim -l metadata-dev -r -d 'Metadata device or file.'
complete -c thin_trim -l data-dev -r -d 'Data device, or an image of it in a file; not needed for --dry-run.'
complete -c thin_trim -l dry-run -d 'Only list what would be discarded.'
complete -c thin_trim -l format -x -a 'text json' -d 'How --dry-run lists: a line a range (text), or an object a line (json).'
