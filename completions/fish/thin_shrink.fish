# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_shrink -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_shrink -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_shrink -l help -s h -d 'Print this help.'
complete -c thin_shrink -l version -s V -d 'Print the version.'
complete -c thin_shrink -l input -s i -r -d 'Metadata of the pool: device, file, or a dump of it as XML or JSON. It is only read.'
complete -c thin_shrink -l output -s o -r -d 'New metadata, in the form of the input: a device or file that exists, or a dump.'
complete -c thin_shrink -l data -r -d 'Data device of the pool, or an image of it in a file. Blocks are copied within it.'
complete -c thin_shrink -l nr-blocks -r -d 'New size of the data device, in data blocks.'
complete -c thin_shrink -l no-copy -d 'Write the new metadata and copy no data.'
complete -c thin_shrink -l binary -d 'The input is no dump. This is recognised anyway.'
complete -c thin_shrink -l dry-run -d 'Only list what would be copied where.'
complete -c thin_shrink -l format -x -a 'text json' -d 'How --dry-run lists: for people (text), or an object a line (json).'
