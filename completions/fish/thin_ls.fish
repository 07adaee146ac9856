# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_ls -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_ls -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_ls -l help -s h -d 'Print this help.'
complete -c thin_ls -l version -s V -d 'Print the version.'
complete -c thin_ls -l metadata-snap -s m -d 'List the metadata snapshot; the pool may be in use.'
complete -c thin_ls -l no-headers -d 'Leave out the line of headers.'
complete -c thin_ls -l format -s o -r -d 'Fields to print, with commas between; json prints all as one object a line.'
complete -c thin_ls -l lv -r -d 'The pool, or any volume that has metadata; without it, the only pool.'
complete -c thin_ls -l pv -r -d 'Another image of the same group; may be repeated. IMAGE@BYTES says where in IMAGE the physical volume begins; NAME=IMAGE which one it is, for --lvm-metadata.'
complete -c thin_ls -l leg -r -d 'Read this leg of mirrors, counted from 1.'
complete -c thin_ls -l backing -r -d 'A file or device that a qcow2 image is based on and that may be read although it is not in the folder of the image; may be repeated. It also stands for a file of the same name that is not there any more.'
complete -c thin_ls -l lvm-metadata -r -d 'Take what LVM knows from a file of vgcfgbackup.'
