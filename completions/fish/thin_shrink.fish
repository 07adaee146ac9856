# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_shrink -l verbose -s v -d 'Log what is done, with timestamps; repeat for more detail.'
complete -c thin_shrink -l quiet -s q -d 'Suppress all messages.'
complete -c thin_shrink -l help -s h -d 'Print this help.'
complete -c thin_shrink -l version -s V -d 'Print the version.'
complete -c thin_shrink -l input -s i -r -d 'Metadata device or file, or a dump of it. Never written.'
complete -c thin_shrink -l output -s o -r -d 'New metadata, in the format of the input. A device or metadata file must exist.'
complete -c thin_shrink -l data -r -d 'Data device, or an image of it. Blocks are copied within it.'
complete -c thin_shrink -l nr-blocks -r -d 'New size of the data device, in data blocks.'
complete -c thin_shrink -l no-copy -d 'Write the new metadata, but copy no data.'
complete -c thin_shrink -l binary -d 'The input is metadata, not a dump. Detected automatically.'
complete -c thin_shrink -l dry-run -d 'Report what would be done; write nothing.'
complete -c thin_shrink -l format -x -a 'text json' -d 'Output format of --dry-run.'
