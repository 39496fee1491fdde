//! The filter against a small copy of the kernel's interpreter: every row with right and wrong arguments, for
//! every engine, without a process to lose.

use msgscript_proto::message::Engine;

use super::*;

const PID: u32 = 4242;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// `struct seccomp_data`, as 32-bit words (both machines are little-endian).
fn data(arch: u32, number: i64, args: [u64; 6]) -> Vec<u32> {
    let mut words = vec![number as u32, arch, 0, 0];
    words.extend(args.iter().flat_map(|arg| [*arg as u32, (arg >> 32) as u32]));
    words
}

/// Runs a filter as the kernel would.
fn verdict(program: &BpfProgram, data: &[u32]) -> u32 {
    let (mut at, mut a) = (0, 0_u32);
    loop {
        let step = &program[at];
        let branch = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
        at += 1;
        match step.code {
            0x20 => a = data[step.k as usize / 4],
            0x54 => a &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += branch(a == step.k),
            0x25 => at += branch(a > step.k),
            0x35 => at += branch(a >= step.k),
            0x06 => return step.k,
            code => panic!("instruction {code:#x} is not expected"),
        }
    }
}

fn allows(engine: Engine, number: i64, args: [u64; 6]) -> bool {
    let program = filter(engine, PID).expect("a filter");
    match verdict(&program, &data(ARCH, number, args)) {
        ALLOW => true,
        TRAP | KILL_PROCESS => false,
        other => panic!("verdict {other:#x}"),
    }
}

const ENGINES: [Engine; 7] = [
    Engine::Lua,
    Engine::LuaJit,
    Engine::Probe,
    Engine::Wasm,
    Engine::ProbeWasmBound,
    Engine::WasmCompile,
    Engine::Sqlite,
];

/// Arguments that each row must allow.
fn sample(row: &Row) -> [u64; 6] {
    let mut args = [0; 6];
    for arg in &row.args {
        match *arg {
            Arg::Int(index, value) | Arg::Long(index, value) => args[usize::from(index)] = value,
            Arg::IntWithin(index, mask) | Arg::LongWithin(index, mask) => args[usize::from(index)] = mask,
            Arg::LongBut(index, mask, value) => args[usize::from(index)] = value | mask,
            Arg::IntNot(index, value) => args[usize::from(index)] = value ^ 1,
            Arg::LongHas(index, mask) => args[usize::from(index)] = mask,
        }
    }
    args
}

#[test]
fn each_row_allows_what_it_says() {
    for engine in ENGINES {
        for row in table(engine, PID) {
            assert!(allows(engine, row.number, sample(&row)), "{engine:?} {row:?}");
        }
    }
}

/// One wrong bit in any argument that a row names makes it another call.
#[test]
fn each_named_argument_is_checked_bit_by_bit() {
    for engine in ENGINES {
        let rows = table(engine, PID);
        for row in &rows {
            for arg in &row.args {
                let (index, bits, free) = match *arg {
                    Arg::Int(index, _) => (index, 32, 0),
                    Arg::Long(index, _) => (index, 64, 0),
                    Arg::IntWithin(index, mask) => (index, 32, mask),
                    Arg::LongWithin(index, mask) | Arg::LongBut(index, mask, _) => (index, 64, mask),
                    // Only in lists of what is refused.
                    Arg::IntNot(..) | Arg::LongHas(..) => continue,
                };
                for bit in (0..bits).map(|bit| 1_u64 << bit).filter(|bit| bit & free == 0) {
                    let mut args = sample(row);
                    args[usize::from(index)] ^= bit;
                    // Another row of the same call may mean just that (write to 1 and to 2).
                    let other = rows.iter().any(|other| other.number == row.number && fits(other, args));
                    assert_eq!(allows(engine, row.number, args), other, "{engine:?} {row:?} {args:x?}");
                }
            }
        }
    }
}

fn fits(row: &Row, args: [u64; 6]) -> bool {
    row.args.iter().all(|arg| match *arg {
        Arg::Int(index, value) => args[usize::from(index)] as u32 == value as u32,
        Arg::Long(index, value) => args[usize::from(index)] == value,
        Arg::IntWithin(index, mask) => args[usize::from(index)] as u32 & !mask as u32 == 0,
        Arg::LongWithin(index, mask) => args[usize::from(index)] & !mask == 0,
        Arg::LongBut(index, mask, value) => args[usize::from(index)] & !mask == value,
        Arg::IntNot(index, value) => args[usize::from(index)] as u32 != value as u32,
        Arg::LongHas(index, mask) => args[usize::from(index)] & mask == mask,
    })
}

#[test]
fn only_the_compiler_may_make_memory_run() {
    let protect =
        |engine, protection: i32| allows(engine, libc::SYS_mprotect, [0, 0, bits(protection), 0, 0, 0]);
    let (r, w, x) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    for engine in ENGINES {
        assert!(protect(engine, libc::PROT_NONE) && protect(engine, r) && protect(engine, r | w));
        assert_eq!(protect(engine, r | x), matches!(engine, Engine::LuaJit | Engine::Wasm));
        assert!(!protect(engine, r | w | x) && !protect(engine, x) && !protect(engine, w | x));
        let map = [0, 4096, bits(r | x), PRIVATE, u64::MAX, 0];
        assert!(!allows(engine, libc::SYS_mmap, map));
    }
}

/// What binding needs is gone afterwards: both filters must agree.
#[test]
fn a_bound_worker_makes_no_code_no_descriptor_and_no_rules() {
    for row in binding() {
        let stays = matches!(row.number, libc::SYS_write | libc::SYS_mprotect);
        let number = row.number;
        assert!(allows(Engine::Wasm, number, sample(&row)), "{row:?}");
        assert!(stays || !table(Engine::ProbeWasmBound, PID).iter().any(|row| row.number == number));
    }
    let read_exec = [0, 0, READ_EXEC, 0, 0, 0];
    assert!(!allows(Engine::ProbeWasmBound, libc::SYS_mprotect, read_exec));
    assert!(!allows(Engine::ProbeWasmBound, libc::SYS_write, [3, 0, 0, 0, 0, 0]));
    for exec in [READ_EXEC, bits(libc::PROT_EXEC)] {
        let image = [0, 4096, exec, bits(libc::MAP_PRIVATE) | FIXED, 3, 0];
        assert!(!allows(Engine::Wasm, libc::SYS_mmap, image));
    }
    for row in table(Engine::ProbeWasmBound, PID) {
        assert!(allows(Engine::Wasm, row.number, sample(&row)), "both filters allow {row:?}");
    }
}

#[test]
fn every_other_number_and_machine_is_killed() {
    for engine in ENGINES {
        let program = filter(engine, PID).expect("a filter");
        let rows = table(engine, PID);
        for number in
            (0..600).chain((0..600).map(|number| number | 0x4000_0000)).chain([-1, i64::from(i32::MIN)])
        {
            let listed = rows.iter().any(|row| row.number == number);
            let seen = verdict(&program, &data(ARCH, number, [0x5a5a_5a5a_5a5a_5a5a; 6]));
            assert!(listed || seen == TRAP, "{engine:?} {number:#x}");
        }
        // i386, arm, and the other of the two machines.
        for arch in [0x4000_0003, 0x4000_0028, 0xc000_003e, 0xc000_00b7] {
            let seen = verdict(&program, &data(arch, libc::SYS_getpid, [0; 6]));
            assert_eq!(seen == ALLOW, arch == ARCH, "{arch:#x}");
        }
    }
}

#[test]
fn the_filter_is_small() {
    for engine in [Engine::LuaJit, Engine::Wasm] {
        let size = filter(engine, PID).expect("a filter").len();
        assert!(size < 350, "{size} instructions");
    }
}

/// What the handler of `SIGSYS` dies of.
#[test]
fn the_call_of_the_handlers_end_is_never_allowed() {
    for engine in ENGINES {
        assert!(table(engine, PID).iter().all(|row| row.number != crate::jail::sys::NEVER_ALLOWED));
        assert!(!allows(engine, crate::jail::sys::NEVER_ALLOWED, [0; 6]));
    }
}
