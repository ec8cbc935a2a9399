#!/bin/busybox sh
# First process of the machine that `cargo xtask test --kernel` boots: prepares what the tests need, runs them one
# after the other and switches the machine off. The kernel's messages go to the first serial port, ours and the
# tests' output to the second; lines that begin with @@ are for `console.rs`.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /sbin /usr/bin /usr/sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
exec </dev/null >/dev/ttyS1 2>&1
echo "@@ booted $(uname -r)"
while read -r module; do
    insmod "/modules/$module" || echo "cannot load the module $module"
done </modules/order
busybox ip link set dev lo up
set --
while read -r argument; do
    set -- "$@" "$argument"
done </tests/arguments
while read -r name path; do
    echo "@@ began $name"
    "$path" "$@" </dev/null
    echo "@@ ended $name $?"
done </tests/order
echo "@@ over"
poweroff -f
