# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_restore -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_restore -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_restore -l help -s h -d 'Print this help.'
complete -c thin_restore -l version -s V -d 'Print the version.'
complete -c thin_restore -l input -s i -r -d 'XML or JSON from thin_dump, also compressed with gzip or zstd; - is standard input.'
complete -c thin_restore -l output -s o -r -d 'Metadata device or file to write; it must exist.'
complete -c thin_restore -l transaction-id -r -d 'Use this transaction id.'
complete -c thin_restore -l data-block-size -r -d 'Use this data block size.'
complete -c thin_restore -l nr-data-blocks -r -d 'Use this number of data blocks.'
