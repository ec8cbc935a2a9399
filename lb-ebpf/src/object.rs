//! What every object of this package needs besides its programs: a panic handler and a licence.

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the datapath panics; the verifier would refuse a program that could get here.
    loop {}
}

/// Licence as the kernel wants it: helpers such as the FIB lookup are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
