# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_receive -l verbose -s v -d 'Log what is done, with timestamps; repeat for more detail.'
complete -c thin_receive -l quiet -s q -d 'Suppress all messages.'
complete -c thin_receive -l help -s h -d 'Print this help.'
complete -c thin_receive -l version -s V -d 'Print the version.'
complete -c thin_receive -l input -s i -r -d 'Stream of thin_send; - is standard input.'
complete -c thin_receive -l metadata -r -d 'Metadata device or file to write. A file that does not exist is created.'
complete -c thin_receive -l data -r -d 'Data device or file to write. A file that does not exist is created.'
complete -c thin_receive -l keep-places -d 'Put data blocks where the sender has them. Without it, they lie one after the other.'
complete -c thin_receive -l onto -r -d 'Apply an increment to the pool whose metadata is FILE, which is never written.'
complete -c thin_receive -l resume -d 'Continue an interrupted receive.'
complete -c thin_receive -l journal -r -d 'Record progress in this file. For files, the default is the data file with .resume added.'
complete -c thin_receive -l lvm-text -r -d 'Write what LVM knew of the sender\'s volume group to this file.'
