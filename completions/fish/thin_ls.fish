# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_ls -l verbose -s v -d 'Log what is done, with timestamps; repeat for more detail.'
complete -c thin_ls -l quiet -s q -d 'Suppress all messages.'
complete -c thin_ls -l help -s h -d 'Print this help.'
complete -c thin_ls -l version -s V -d 'Print the version.'
complete -c thin_ls -l metadata-snap -s m -d 'Read the metadata snapshot; the pool may be in use.'
complete -c thin_ls -l no-headers -d 'Do not print column headers.'
complete -c thin_ls -l format -s o -r -d 'Fields to print, or json for all fields, one object per line.'
complete -c thin_ls -l lv -r -d 'Pool or volume to use. Not needed if there is only one pool.'
complete -c thin_ls -l pv -r -d 'Another disk of the volume group, also as IMAGE@BYTES or NAME=IMAGE; repeatable.'
complete -c thin_ls -l leg -r -d 'Use leg N of mirrors and raid1 volumes, counted from 1.'
complete -c thin_ls -l backing -r -d 'Base file of a qcow2 image, if it is not in the folder of the image; repeatable.'
complete -c thin_ls -l lvm-metadata -r -d 'Use LVM metadata from a vgcfgbackup file, not from the disks.'
