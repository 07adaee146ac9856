# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_metadata_pack -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_metadata_pack -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_metadata_pack -l help -s h -d 'Print this help.'
complete -c thin_metadata_pack -l version -s V -d 'Print the version.'
complete -c thin_metadata_pack -l input -s i -r -d 'Metadata device or file.'
complete -c thin_metadata_pack -l output -s o -r -d 'File to write; it appears only if all went well. - is standard output.'
complete -c thin_metadata_pack -l force -s f -d 'Do not ask before metadata in the output is overwritten.'
complete -c thin_metadata_pack -l all -d 'Pack blocks that are neither valid nor zero as well; other implementations leave them out when they unpack.'
complete -c thin_metadata_pack -l metadata-snap -s m -d 'Pack what the metadata snapshot is made of, and no other block; the pool may be in use. Read such a pack with -m, too.'
