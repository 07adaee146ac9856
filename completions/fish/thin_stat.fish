# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_stat -l verbose -s v -d 'Log what is done, with timestamps; repeat for more detail.'
complete -c thin_stat -l quiet -s q -d 'Suppress all messages.'
complete -c thin_stat -l help -s h -d 'Print this help.'
complete -c thin_stat -l version -s V -d 'Print the version.'
complete -c thin_stat -l op -x -a 'data_blocks metadata_blocks data_run_len devices' -d 'What to measure; see below.'
complete -c thin_stat -l format -x -a 'text json' -d 'Output format.'
complete -c thin_stat -l metadata-snap -s m -d 'Read the metadata snapshot; the pool may be in use.'
complete -c thin_stat -l lv -r -d 'Pool or volume to use. Not needed if there is only one pool.'
complete -c thin_stat -l pv -r -d 'Another disk of the volume group, also as IMAGE@BYTES or NAME=IMAGE; repeatable.'
complete -c thin_stat -l leg -r -d 'Use leg N of mirrors and raid1 volumes, counted from 1.'
complete -c thin_stat -l backing -r -d 'Base file of a qcow2 image, if it is not in the folder of the image; repeatable.'
complete -c thin_stat -l lvm-metadata -r -d 'Use LVM metadata from a vgcfgbackup file, not from the disks.'
