//! The allocator against a model: blocks keep their bytes and never overlap.

use std::ffi::c_void;
use std::ptr;

use proptest::prelude::*;

use super::{Arena, Ends, GRAIN, HEAD, SMALL, allocate, seat};

type Allocator = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize) -> *mut c_void;

fn ends() -> Ends {
    unsafe fn soft(_: *mut mlua::ffi::lua_State) {}
    fn hard(used: u64) -> ! {
        panic!("hard limit at {used}")
    }
    Ends { soft, hard }
}

struct Block {
    address: *mut c_void,
    size: usize,
    mark: u8,
}

fn fill(block: &Block) {
    // SAFETY: a live block of that size.
    unsafe { block.address.cast::<u8>().write_bytes(block.mark, block.size) }
}

fn intact(block: &Block, size: usize) -> bool {
    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts(block.address.cast::<u8>(), size) };
    bytes.iter().all(|byte| *byte == block.mark)
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1usize..64, 3 => 1usize..2000, 2 => 1000usize..20_000, 1 => 10_000usize..400_000]
}

type Step = (u8, prop::sample::Index, usize);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..4, any::<prop::sample::Index>(), size()), 1..300)
}

/// Asks an allocator for what the steps say; gives the blocks that are left.
fn play(arena: &Arena, allocate: Allocator, steps: &[Step]) -> Result<Vec<Block>, TestCaseError> {
    let data = arena.data();
    let mut live: Vec<Block> = Vec::new();
    for (step, &(act, which, size)) in steps.iter().enumerate() {
        let mark = (step % 251) as u8;
        match act {
            0 | 1 => {
                // SAFETY: a request for a new block.
                let address = unsafe { allocate(data, ptr::null_mut(), 0, size) };
                prop_assert!((address as usize).is_multiple_of(8));
                live.push(Block { address, size, mark });
                fill(live.last().unwrap());
            }
            2 if !live.is_empty() => {
                let block = live.swap_remove(which.index(live.len()));
                prop_assert!(intact(&block, block.size));
                // SAFETY: a live block with its size.
                unsafe { allocate(data, block.address, block.size, 0) };
            }
            3 if !live.is_empty() => {
                let index = which.index(live.len());
                let block = &mut live[index];
                let old = block.size;
                // SAFETY: a live block with its size.
                block.address = unsafe { allocate(data, block.address, old, size) };
                prop_assert!(intact(block, old.min(size)));
                block.size = size;
                fill(block);
            }
            _ => {}
        }
    }
    for block in &live {
        prop_assert!(intact(block, block.size));
    }
    let total: usize = live.iter().map(|block| block.size).sum();
    prop_assert_eq!(arena.usage().0, total);
    Ok(live)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn blocks_keep_their_bytes(steps in steps()) {
        play(&Arena::new(64 << 20, ends()).unwrap(), allocate, &steps)?;
    }

    #[test]
    fn what_stays_lies_side_by_side(steps in steps()) {
        let mut first = Arena::new(128 << 20, ends()).unwrap();
        first.note_seats();
        play(&first, seat, &steps)?;
        let mut second = Arena::new(128 << 20, ends()).unwrap();
        let books = second.bytes().len();
        second.give_seats(first.noted_seats());
        let live = play(&second, seat, &steps)?;
        prop_assert!(second.take_seats());
        let room = |size: usize| size.next_multiple_of(GRAIN) + if size > SMALL { HEAD } else { 0 };
        prop_assert_eq!(second.bytes().len(), books + live.iter().map(|block| room(block.size)).sum::<usize>());
        for block in &live {
            prop_assert!(intact(block, block.size));
            // SAFETY: a live block with its size.
            unsafe { allocate(second.data(), block.address, block.size, 0) };
        }
        prop_assert_eq!(second.usage().0, 0);
    }

    #[test]
    fn other_requests_than_noted_are_served_and_told(noted in steps(), asked in steps()) {
        let mut first = Arena::new(128 << 20, ends()).unwrap();
        first.note_seats();
        play(&first, seat, &noted)?;
        let mut second = Arena::new(128 << 20, ends()).unwrap();
        second.give_seats(first.noted_seats());
        let live = play(&second, seat, &asked)?;
        let end = second.bytes().as_ptr_range().end;
        let outside = live.iter().any(|block| block.address.cast_const().cast() >= end);
        prop_assert_eq!(second.take_seats(), !outside);
    }
}

#[test]
fn memory_that_was_freed_is_used_again() {
    let arena = Arena::new(8 << 20, ends()).unwrap();
    let data = arena.data();
    for round in 0..10_000usize {
        let size = 2000 + (round * 7919) % 300_000;
        // SAFETY: a new block, freed with its size.
        unsafe {
            let block = allocate(data, ptr::null_mut(), 0, size);
            let grown = allocate(data, block, size, size * 2);
            allocate(data, grown, size * 2, 0);
        }
    }
    assert!(arena.bytes().len() < 4 << 20, "{}", arena.bytes().len());
}
