# SPDX-License-Identifier: MIT
# Starting a guest: accelerator, devices, QEMU's command line; a part of vm.
# shellcheck shell=bash disable=SC2154 # lib.sh and vm define the rest

cpus=2 mem=2G kernel=6.12 iommu=intel device=vhost-user-test queues=1 vq_size=1024
append="" device_options="" devices=() extra=()

# accel - print kvm where a stock kernel reaches its initramfs with it, else tcg
#
# A /dev/kvm proves nothing: some machines' runs only kernels made for them. The answer is kept
# until the machine is booted again.
accel()
{
	local boot result log=$lab_run/accel.log pid
	if [ -n "${VFSDAXFUSE_ACCEL-}" ]; then
		echo "$VFSDAXFUSE_ACCEL"
		return
	fi
	boot=$(cat /proc/sys/kernel/random/boot_id)
	mkdir -p "$lab_run"
	exec 8>"$lab_run/accel.lock"
	flock 8
	if [ "$(sed 1q "$lab_run/accel" 2>/dev/null)" = "$boot" ]; then
		sed -n 2p "$lab_run/accel"
		return
	fi
	result=tcg
	if [ -w /dev/kvm ]; then
		need_prepared "$lab_kernels/6.12/initrd" "$lab_qemu"
		: >"$log"
		(
			exec_in_tree "$lab_qemu" timeout 15 qemu-system-x86_64 -nodefaults \
				-display none -no-reboot -accel kvm -cpu max -m 512M -serial stdio \
				-M q35,kernel-irqchip=split -device intel-iommu,intremap=on \
				-kernel "$lab_kernels/6.12/vmlinuz" \
				-initrd "$lab_kernels/6.12/initrd" \
				-append 'console=ttyS0 quiet lab=probe'
		) </dev/null >"$log" 2>&1 8>&- 9>&- &
		pid=$!
		while kill -0 "$pid" 2>/dev/null &&
			! grep -qE 'lab: alive|emulation failure|KVM internal error' "$log"; do
			sleep 0.1
		done
		! grep -q 'lab: alive' "$log" || result=kvm
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	printf '%s\n' "$boot" "$result" >"$lab_run/accel"
	echo "$result"
}

# add_device SOCK - a virtio-fs device whose back end listens there; the first is 00:10.0
add_device()
{
	local number=$((${#devices[@]} / 4)) socket model n
	local id=fs$number address=addr=0x$((10 + number))${device_options:+,$device_options}
	socket=$(realpath -m "$1")
	for ((n = 0; n < 50; n++)); do	# its server may be starting
		[ ! -S "$socket" ] || break
		sleep 0.1
	done
	[ -S "$socket" ] || die "$socket is no socket"
	devices+=(-chardev "socket,id=$id,path=$socket" -device)
	case $device in
	vhost-user-test)
		# 44 bytes: struct virtio_fs_config, the tag and the number of request queues
		model=vhost-user-test-device-pci,virtio-id=26,config_size=44
		devices+=("$model,chardev=$id,num_vqs=$((queues + 1)),vq_size=$vq_size,$address")
		;;
	vhost-user-fs)
		model=vhost-user-fs-pci,tag=$id,num-request-queues=$queues
		devices+=("$model,chardev=$id,queue-size=$vq_size,$address")
		;;
	*)
		die "no device for a socket: $device"
		;;
	esac
}

# failed MESSAGE - say why the guest did not start, and end it
failed()
{
	{
		echo "vm: $1; QEMU's and the console's last lines:"
		tail -n 5 "$run/qemu.log"
		tail -n 30 "$run/console"
	} >&2
	kill_qemu
	exit 1
}

# shellcheck disable=SC2054 # QEMU's options hold commas
start()
{
	local sockets=() words=() kernel_dir accelerator began pid args
	while [ $# != 0 ]; do
		case $1 in
		--name) name=$2 ;;
		--kernel) kernel=$2 ;;
		--mem) mem=$2 ;;
		--cpus) cpus=$2 ;;
		--socket) sockets+=("$device" "$queues" "$vq_size" "$device_options" "$2") ;;
		--device) device=$2 ;;
		--num-request-queues) queues=$2 ;;
		--vq-size) vq_size=$2 ;;
		--device-options) device_options=$2 ;;
		--iommu) iommu=$2 ;;
		--append) append=$2 ;;
		--extra) read -ra words <<<"$2"; extra+=("${words[@]}") ;;
		--timeout) timeout=$2 ;;
		*) die "unknown option $1" ;;
		esac
		shift 2 || die "an option lacks its value"
	done
	kernel_dir=$lab_kernels/$kernel
	lab_debian "$(lab_debian_of "$kernel")"
	need_prepared "$lab_qemu" "$lab_guest/root.img" "$kernel_dir/initrd"
	run_of "$name"
	mkdir -p "$run" "$lab_out"
	exec 9>"$lab_run/$name.lock"
	flock --nonblock 9 || die "VM $name is being started or stopped"
	! alive || die "VM $name runs already"
	rm -rf "$run"
	mkdir -p "$run"
	for ((i = 0; i < ${#sockets[@]}; i += 5)); do
		device=${sockets[i]} queues=${sockets[i + 1]} vq_size=${sockets[i + 2]}
		device_options=${sockets[i + 3]}
		[ "$device" = none ] || add_device "${sockets[i + 4]}"
	done
	case $iommu in
	intel)
		extra=(-device intel-iommu,intremap=on "${extra[@]}")
		append="intel_iommu=on $append"
		;;
	none) ;;
	*) die "unknown IOMMU $iommu" ;;
	esac
	accelerator=$(accel)
	cpu=max
	# TCG executes rep movsb byte by byte; kernels and libraries that are told that it is fast then
	# copy at 240 instead of 500 MiB/s, which no real machine does.
	# Their check of the timer at boot, which panics after some milliseconds without a tick, says nothing
	# on a busy machine; under KVM they leave it out by themselves.
	[ "$accelerator" = kvm ] || cpu=max,-erms,-fsrm append="no_timer_check $append"
	args=(-name "$name" -nodefaults -display none -no-reboot -cpu "$cpu" -smp "$cpus" -m "$mem"
		-M q35,kernel-irqchip=split,memory-backend=mem
		-object "memory-backend-memfd,id=mem,size=$mem,share=on"
		-kernel "$kernel_dir/vmlinuz" -initrd "$kernel_dir/initrd"
		-append "console=ttyS0 loglevel=5 panic=-1 $append"
		-serial "file:console" -monitor unix:monitor,server=on,wait=off
		-drive "if=none,id=root,format=raw,snapshot=on,cache=unsafe,file=$lab_guest/root.img"
		-drive "if=none,id=modules,format=raw,readonly=on,file=$kernel_dir/modules.img"
		-netdev user,id=net,hostfwd=tcp:127.0.0.1:0-:22
		-fsdev "local,id=out,path=$lab_out,security_model=none,readonly=on,multidevs=remap"
		-fsdev "local,id=src,path=$lab_source,security_model=none,readonly=on,multidevs=remap"
		"${extra[@]}"
		-device virtio-blk-pci,drive=root -device virtio-blk-pci,drive=modules
		-device virtio-net-pci,netdev=net,romfile=
		-device virtio-9p-pci,fsdev=out,mount_tag=out
		-device virtio-9p-pci,fsdev=src,mount_tag=src
		"${devices[@]}")
	case $accelerator in
	kvm) args+=(-accel kvm) ;;
	tcg) args+=(-accel tcg,thread=multi) ;;
	*) die "unknown accelerator $accelerator" ;;
	esac

	began=$(date +%s%N)
	: >"$run/console"
	printf '%s %s\n' "$kernel" "$accelerator" >"$run/info"
	(
		cd "$run" || exit
		export TMPDIR=$run	# for what the guest writes to its disk
		# In a session of its own it does not see an interrupt typed at the script.
		exec_in_tree "$lab_qemu" setsid qemu-system-x86_64 "${args[@]}"
	) </dev/null >"$run/qemu.log" 2>&1 9>&- &
	pid=$!
	process_id "$pid" >"$run/pid" || failed "QEMU ended at once"
	wait_ready "$began"
	printf 'vm: %s runs Linux %s under %s with %s CPUs, ready after %d.%d s\n' "$name" \
		"$(cat "$kernel_dir/release")" "$accelerator" "$cpus" \
		$((($(date +%s%N) - began) / 1000000000)) \
		$((($(date +%s%N) - began) / 100000000 % 10))
}

# wait_ready BEGAN - until the guest takes commands
wait_ready()
{
	local limit=$(($1 + ${timeout:-90} * 1000000000))
	until grep -q 'lab: ready' "$run/console"; do
		alive || failed "QEMU ended"
		[ "$(date +%s%N)" -lt "$limit" ] || failed "the guest did not start in time"
		sleep 0.05
	done
	monitor 'info usernet' | awk '/HOST_FORWARD/ { print $4 }' >"$run/port"
	[ -s "$run/port" ] || failed "no port for ssh"
	ssh_command
	# This one stays in the background and carries the rest.
	until "${ssh[@]}" -fN -o ControlMaster=yes -o ServerAliveInterval=60 \
		-o ServerAliveCountMax=10 </dev/null >"$run/ssh.log" 2>&1 9>&-; do
		alive || failed "QEMU ended"
		[ "$(date +%s%N)" -lt "$limit" ] || failed "no answer from ssh: $(cat "$run/ssh.log")"
		sleep 0.1
	done
}
