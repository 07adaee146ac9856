# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_stat -l verbose -s v -d 'Log what is done, with times; twice: in detail.'
complete -c thin_stat -l quiet -s q -d 'Print no messages, only set the exit code.'
complete -c thin_stat -l help -s h -d 'Print this help.'
complete -c thin_stat -l version -s V -d 'Print the version.'
complete -c thin_stat -l op -x -a 'data_blocks metadata_blocks data_run_len devices' -d 'What to measure: data_blocks and metadata_blocks: how often blocks are referred to; data_run_len: how long runs are; devices: fragmentation and fill of each device.'
complete -c thin_stat -l format -x -a 'text json' -d 'text or json.'
complete -c thin_stat -l metadata-snap -s m -d 'Measure the metadata snapshot; the pool may be in use. It has no counts of blocks.'
complete -c thin_stat -l lv -r -d 'The pool, or any volume that has metadata; without it, the only pool.'
complete -c thin_stat -l pv -r -d 'Another image of the same group; may be repeated. IMAGE@BYTES says where in IMAGE the physical volume begins; NAME=IMAGE which one it is, for --lvm-metadata.'
complete -c thin_stat -l leg -r -d 'Read this leg of mirrors, counted from 1.'
complete -c thin_stat -l backing -r -d 'A file or device that a qcow2 image is based on and that may be read although it is not in the folder of the image; may be repeated. It also stands for a file of the same name that is not there any more.'
complete -c thin_stat -l lvm-metadata -r -d 'Take what LVM knows from a file of vgcfgbackup.'
