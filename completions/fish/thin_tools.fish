# Completes the command lines of the thin_* tools. Made by make completions.

complete -c thin_tools -n __fish_use_subcommand -a 'thin_check thin_delta thin_dump thin_export thin_files thin_generate thin_ls thin_metadata_pack thin_metadata_size thin_metadata_unpack thin_migrate thin_receive thin_repair thin_report thin_restore thin_rmap thin_scan thin_send thin_shrink thin_stat thin_trim thin_volumes lvm-config help version'
