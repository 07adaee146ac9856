# Makes the arrays on eight disks of 8 MiB, in a virtual machine.
set -e
modprobe raid1
table() { printf '%s\n' 'label: dos' '1: start=2048, size=4096' '2: start=6144' | sfdisk -q --no-reread $1; blockdev --rereadpt $1 2>/dev/null || true; }
for d in a b c d; do table /dev/vd$d; done
mdev -s
mdadm -q -C /dev/md1 -e 0.90 --run --assume-clean -n2 -l1 /dev/vda2 /dev/vdb2
mdadm -q -C /dev/md2 -e 0.90 --run --assume-clean -n2 -l1 -z 4096 /dev/vdc2 /dev/vdd2
mdadm -q -C /dev/md3 -e 0.90 --run --assume-clean -n2 -l1 /dev/vde /dev/vdf
mdadm -q -C /dev/md4 -e 0.90 --run --assume-clean -n2 -l1 -z 4096 /dev/vdg /dev/vdh
for n in 3 4; do table /dev/md$n; done
for n in 1 2 3 4; do dd if=/dev/urandom of=/dev/md$n bs=1k seek=3500 count=1 2>/dev/null; done
sync
for n in 1 2 3 4; do echo md$n $(wc -c </dev/md$n) $(sha256sum </dev/md$n); mdadm -q --stop /dev/md$n; done
