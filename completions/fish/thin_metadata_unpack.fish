# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_metadata_unpack -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_metadata_unpack -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_metadata_unpack -l help -s h -d 'Print this help.'
complete -c thin_metadata_unpack -l version -s V -d 'Print the version.'
complete -c thin_metadata_unpack -l input -s i -r -d 'Packed metadata.'
complete -c thin_metadata_unpack -l output -s o -r -d 'Metadata device or file to write; a file appears only if all went well.'
complete -c thin_metadata_unpack -l force -s f -d 'Do not ask before metadata in the output is overwritten.'
