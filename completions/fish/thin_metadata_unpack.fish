# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_metadata_unpack -l verbose -s v -d 'Log what is done, with timestamps; repeat for more detail.'
complete -c thin_metadata_unpack -l quiet -s q -d 'Suppress all messages.'
complete -c thin_metadata_unpack -l progress -d 'Print progress even if standard error is not a terminal: a line every 5 seconds.'
complete -c thin_metadata_unpack -l help -s h -d 'Print this help.'
complete -c thin_metadata_unpack -l version -s V -d 'Print the version.'
complete -c thin_metadata_unpack -l input -s i -r -d 'Packed metadata.'
complete -c thin_metadata_unpack -l output -s o -r -d 'Device or file to write; a file appears only on success.'
complete -c thin_metadata_unpack -l force -s f -d 'Overwrite whatever the output holds, without asking.'
