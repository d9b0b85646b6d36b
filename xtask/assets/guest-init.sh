#!/bin/sh
# The first process of a guest: mounts what programs expect, runs /script, reports its exit status.
# Serial lines: ttyS0 console, ttyS1 the script's output, ttyS2 its exit status.
export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
/bin/busybox --install -s 2>/dev/null
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /sys/fs/cgroup
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tracefs t /sys/kernel/tracing
mount -t debugfs d /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cg /sys/fs/cgroup
ip link set lo up
hostname guest
ulimit -l unlimited
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
cd /root
sh /script </dev/null >/dev/ttyS1 2>&1
echo $? >/dev/ttyS2
sync
poweroff -f
