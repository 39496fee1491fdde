//! The one piece of memory that holds everything of a Lua state.
//!
//! Takes allocation requests from LuaJIT, gives memory from one fixed mapping, and never answers "no":
//! LuaJIT's out-of-memory paths crash. Past the soft limit it arms a hook that ends the script at the next
//! instruction; past the hard limit the process ends. Its own books lie at the start of the mapping, so
//! that copying the mapping's used part aside and back rewinds them too.
//!
//! Small blocks (up to [`SMALL`] bytes) come from lists by size and have no header, since Lua tells the
//! size when it frees. Larger ones have a header and melt with free neighbours. New memory comes from
//! the untouched end.
#![allow(unsafe_code)]

mod seats;

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};

use mlua::ffi::lua_State;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use super::equal::Equal;
use seats::Seats;
pub use seats::seat;

/// Blocks of at most this many bytes are small.
const SMALL: usize = 1024;
const GRAIN: usize = 8;
const CLASSES: usize = SMALL / GRAIN;
/// Bytes before a large block: its size with flags, and the size of the block in front of it.
const HEAD: usize = 16;
const FREE: usize = 1;
/// The block in front is no large block (or there is none).
const ALONE: usize = 2;
/// No large block follows.
const LAST: usize = 4;
const FLAGS: usize = 7;
/// Free large blocks are kept in four lists per power of two, those of 64 MiB and more in the last.
const BINS: usize = 4 * 16;
/// How many blocks of the fitting list are looked at before a larger one is cut.
const LOOKS: usize = 8;
/// The tail that a rewind clears by writing; what is above goes back to the kernel.
const KEEP: usize = 16 << 20;

/// What ends a run whose memory is used up.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Arms the hook that ends the script at its next instruction.
    pub soft: unsafe fn(*mut lua_State),
    /// Ends the process; given the bytes that were asked for in all.
    pub hard: fn(u64) -> !,
}

/// The books, at the start of the mapping.
#[repr(C)]
struct Books {
    /// First never used byte.
    end: usize,
    used: usize,
    peak: usize,
    soft: usize,
    hard: usize,
    armed: bool,
    state: *mut lua_State,
    host: *mut c_void,
    ends: Ends,
    top: usize,
    small: [usize; CLASSES],
    bins: [usize; BINS],
    marks: [u64; BINS / 64],
    /// The large block that ends at `end`, if one does.
    last: usize,
    /// While a state is built: see [`seats`].
    seats: *mut Seats,
}

/// The mapping. Unmapped when dropped.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<c_void>,
    size: usize,
    seats: Option<Box<Seats>>,
    equal: Equal,
}

impl Arena {
    /// Maps an arena for states that may use `memory` bytes. Half as much again is there for what
    /// scattered free blocks waste. Untouched pages cost nothing.
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn new(memory: usize, ends: Ends) -> nix::Result<Arena> {
        let size = (memory + memory / 2 + (32 << 20)).next_multiple_of(1 << 16);
        let length = NonZeroUsize::new(size).ok_or(nix::Error::EINVAL)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice; nothing else knows it.
        let base =
            unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)? };
        let arena = Arena { base, size, seats: None, equal: Equal::new() };
        let start = base.as_ptr() as usize;
        let end = (start + size_of::<Books>()).next_multiple_of(64);
        // SAFETY: the mapping is large enough, aligned to a page, and ours alone.
        unsafe {
            arena.books().write(Books {
                end,
                used: 0,
                peak: 0,
                soft: usize::MAX,
                hard: size,
                armed: false,
                state: ptr::null_mut(),
                host: ptr::null_mut(),
                ends,
                top: start + size,
                small: [0; CLASSES],
                bins: [0; BINS],
                marks: [0; BINS / 64],
                last: 0,
                seats: ptr::null_mut(),
            });
        }
        Ok(arena)
    }

    fn books(&self) -> *mut Books {
        self.base.as_ptr().cast()
    }

    /// What LuaJIT is to be given as the allocator's data.
    pub fn data(&self) -> *mut c_void {
        self.base.as_ptr()
    }

    /// Tells the arena which state lives in it and which host serves it (see [`host_of`]).
    pub fn set_owner(&mut self, state: *mut lua_State, host: *mut c_void) {
        // SAFETY: `books` is valid as long as `self`; nobody else holds a reference.
        unsafe {
            (*self.books()).state = state;
            (*self.books()).host = host;
        }
    }

    /// Sets the limits of the next run, in bytes of all that is allocated, and restarts the peak.
    pub fn set_limits(&mut self, soft: usize) {
        // SAFETY: as in `set_owner`.
        unsafe {
            let books = self.books();
            (*books).soft = soft;
            (*books).hard = soft.saturating_add((soft / 4).max(4 << 20));
            (*books).armed = false;
            (*books).peak = (*books).used;
        }
    }

    /// Bytes allocated now and at most since the limits were set.
    pub fn usage(&self) -> (usize, usize) {
        // SAFETY: as in `set_owner`.
        unsafe { ((*self.books()).used, (*self.books()).peak) }
    }

    /// The used part of the mapping.
    pub fn bytes(&self) -> &[u8] {
        let start = self.base.as_ptr() as usize;
        // SAFETY: from the base to `end` is mapped; nobody writes while `self` is borrowed, as LuaJIT
        // runs only below methods of `Vm` that borrow it mutably.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), (*self.books()).end - start) }
    }

    /// Writes `image` back to the start, then lets `patch` write what differs, and clears all that had
    /// been used above `length` bytes. `patch` gets the first `length` bytes.
    pub fn restore(&mut self, image: &[u8], length: usize, patch: impl FnOnce(&mut [u8])) {
        let used = self.bytes().len();
        let start = self.base.as_ptr().cast::<u8>();
        assert!(image.len() <= length && length <= self.size, "an image of another arena");
        // SAFETY: all ranges lie in the mapping (checked above; `used` never exceeds it), and no Lua
        // frame is active, so nothing refers to what is overwritten.
        unsafe {
            self.equal.make(image, start);
            if used > image.len() {
                let keep = (image.len() + KEEP).next_multiple_of(4096).min(used);
                start.add(image.len()).write_bytes(0, keep - image.len());
                if used > keep && !self.give_back(keep, used - keep) {
                    start.add(keep).write_bytes(0, used - keep);
                }
            }
            patch(std::slice::from_raw_parts_mut(start, length));
        }
    }

    /// Gives whole pages back to the kernel, which hands out zeros in their place; or it refuses.
    fn give_back(&mut self, from: usize, length: usize) -> bool {
        assert!(from.is_multiple_of(4096) && from + length <= self.size, "outside of the arena");
        // SAFETY: in the mapping (checked), and above all that is in use, by the callers' words.
        unsafe {
            let start = NonNull::new_unchecked(self.base.as_ptr().cast::<u8>().add(from).cast());
            madvise(start, length, MmapAdvise::MADV_DONTNEED).is_ok()
        }
    }

    /// An address in the arena as a number that does not tell where the arena is.
    pub fn offset(&self, address: *const c_void) -> usize {
        (address as usize).wrapping_sub(self.base.as_ptr() as usize)
    }

    /// Overwrites `words` at an address in the arena.
    pub fn poke(&mut self, address: *mut u64, words: [u64; 4]) {
        let at = self.offset(address.cast());
        assert!(at.is_multiple_of(8) && at + 32 <= self.bytes().len(), "outside of the arena");
        // SAFETY: checked to lie in the used part and to be aligned.
        unsafe { address.cast::<[u64; 4]>().write(words) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: ours; the state in it is not used any more (it is owned beside this arena).
        let _ = unsafe { munmap(self.base, self.size) };
    }
}

/// The host that [`Arena::set_owner`] was given.
///
/// # Safety
/// `data` must be what [`Arena::data`] gave, of a living arena.
pub unsafe fn host_of(data: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { (*data.cast::<Books>()).host }
}

/// Whether no more than `most` bytes are used; if so, the soft limit counts anew.
///
/// # Safety
/// As for [`host_of`].
pub unsafe fn made_room(data: *mut c_void, most: usize) -> bool {
    let books = data.cast::<Books>();
    // SAFETY: the caller's promise.
    unsafe {
        if (*books).used > most {
            return false;
        }
        (*books).armed = false;
        // `account` looks at the limits only when the peak is passed.
        (*books).peak = (*books).used;
        true
    }
}

/// LuaJIT's allocator (`lua_Alloc`).
///
/// # Safety
/// Called by LuaJIT only, with [`Arena::data`] and blocks that it got here, with their sizes.
pub unsafe extern "C" fn allocate(
    data: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    let books = data.cast::<Books>();
    let address = block as usize;
    // SAFETY: by this function's contract `books` is valid and `address` a block of `old` bytes.
    unsafe {
        if new == 0 {
            if address != 0 {
                (*books).used -= old;
                free(books, address, old);
            }
            return ptr::null_mut();
        }
        let old = if address == 0 { 0 } else { old };
        account(books, old, new);
        if address == 0 {
            return take(books, new) as *mut c_void;
        }
        if fits(books, address, old, new) {
            return block;
        }
        let moved = take(books, new);
        ptr::copy_nonoverlapping(address as *const u8, moved as *mut u8, old.min(new));
        free(books, address, old);
        moved as *mut c_void
    }
}

/// Books a block that grows or shrinks; does not return if the hard limit is passed.
unsafe fn account(books: *mut Books, old: usize, new: usize) {
    // SAFETY: `books` is valid (see `allocate`).
    unsafe {
        let used = (*books).used - old + new;
        (*books).used = used;
        if used <= (*books).peak {
            return;
        }
        (*books).peak = used;
        if used > (*books).hard {
            ((*books).ends.hard)(used as u64);
        }
        if used > (*books).soft && !(*books).armed {
            (*books).armed = true;
            ((*books).ends.soft)((*books).state);
        }
    }
}

fn class_of(size: usize) -> usize {
    size.div_ceil(GRAIN) - 1
}

/// A large block's size with its head.
fn large_size(size: usize) -> usize {
    size.next_multiple_of(GRAIN) + HEAD
}

unsafe fn take(books: *mut Books, size: usize) -> usize {
    // SAFETY: `books` is valid; a free small block holds the address of the next in its first word.
    unsafe {
        if size > SMALL {
            return take_large(books, large_size(size));
        }
        let class = class_of(size);
        let first = (*books).small[class];
        if first != 0 {
            (*books).small[class] = *(first as *const usize);
            return first;
        }
        (*books).last = 0;
        extend(books, (class + 1) * GRAIN)
    }
}

/// Takes memory from the untouched end.
unsafe fn extend(books: *mut Books, size: usize) -> usize {
    // SAFETY: `books` is valid.
    unsafe {
        let block = (*books).end;
        if size > (*books).top - block {
            // Scattered to bits, or absurdly large: there is no more.
            ((*books).ends.hard)(((*books).used) as u64);
        }
        (*books).end = block + size;
        block
    }
}

unsafe fn free(books: *mut Books, block: usize, size: usize) {
    // SAFETY: a block of `size` bytes that nobody uses any more.
    unsafe {
        if size > SMALL {
            free_large(books, block - HEAD);
            return;
        }
        let class = class_of(size);
        *(block as *mut usize) = (*books).small[class];
        (*books).small[class] = block;
    }
}

/// Whether a block can grow or shrink where it is; if so, it has.
unsafe fn fits(books: *mut Books, block: usize, old: usize, new: usize) -> bool {
    if old <= SMALL || new <= SMALL {
        return old <= SMALL && new <= SMALL && class_of(old) == class_of(new);
    }
    let wanted = large_size(new);
    // SAFETY: `block` is a large block, so its head is in front of it.
    unsafe {
        let head = Head::at(block - HEAD);
        if head.size() >= wanted {
            cut(books, head, wanted);
            return true;
        }
        if head.is(LAST) && (*books).last == head.0 {
            // It ends at the untouched memory: take what is missing from there.
            extend(books, wanted - head.size());
            head.set(wanted, head.flags());
            return true;
        }
        if !head.is(LAST) {
            let next = head.next();
            if next.is(FREE) && head.size() + next.size() >= wanted {
                unlink(books, next);
                absorb(books, head, next);
                cut(books, head, wanted);
                return true;
            }
        }
        false
    }
}

/// The head of a large block, by address. Its first word is size and flags, the second the size of the
/// block in front unless `ALONE`. A free block holds its list's neighbours behind the head.
#[derive(Clone, Copy)]
struct Head(usize);

impl Head {
    fn at(address: usize) -> Head {
        Head(address)
    }
    unsafe fn word(self, index: usize) -> *mut usize {
        (self.0 + index * size_of::<usize>()) as *mut usize
    }
    unsafe fn size(self) -> usize {
        // SAFETY: a head (all of these).
        unsafe { *self.word(0) & !FLAGS }
    }
    unsafe fn flags(self) -> usize {
        // SAFETY: as above.
        unsafe { *self.word(0) & FLAGS }
    }
    unsafe fn is(self, flag: usize) -> bool {
        // SAFETY: as above.
        unsafe { *self.word(0) & flag != 0 }
    }
    unsafe fn set(self, size: usize, flags: usize) {
        // SAFETY: as above.
        unsafe { *self.word(0) = size | flags }
    }
    unsafe fn next(self) -> Head {
        // SAFETY: as above; only called when a large block follows.
        unsafe { Head(self.0 + self.size()) }
    }
    unsafe fn front(self) -> Head {
        // SAFETY: as above; only called when a large block is in front.
        unsafe { Head(self.0 - *self.word(1)) }
    }
}

unsafe fn take_large(books: *mut Books, size: usize) -> usize {
    // SAFETY: `books` is valid, and so are the heads in its lists.
    unsafe {
        if let Some(found) = find(books, size) {
            unlink(books, found);
            found.set(found.size(), found.flags() & !FREE);
            cut(books, found, size);
            return found.0 + HEAD;
        }
        let last = (*books).last;
        let block = Head::at(extend(books, size));
        if last == 0 {
            block.set(size, ALONE | LAST);
        } else {
            let last = Head::at(last);
            last.set(last.size(), last.flags() & !LAST);
            block.set(size, LAST);
            *block.word(1) = last.size();
        }
        (*books).last = block.0;
        block.0 + HEAD
    }
}

unsafe fn free_large(books: *mut Books, block: usize) {
    // SAFETY: the head of a block that is in use; its neighbours' heads are valid where flags say so.
    unsafe {
        let mut head = Head::at(block);
        if !head.is(LAST) && head.next().is(FREE) {
            let next = head.next();
            unlink(books, next);
            absorb(books, head, next);
        }
        if !head.is(ALONE) && head.front().is(FREE) {
            let front = head.front();
            unlink(books, front);
            absorb(books, front, head);
            head = front;
        }
        link(books, head);
    }
}

/// Makes one block of two neighbours.
unsafe fn absorb(books: *mut Books, head: Head, next: Head) {
    // SAFETY: `next` follows `head`, and neither is in a list.
    unsafe {
        let last = next.flags() & LAST;
        head.set(head.size() + next.size(), (head.flags() & !LAST) | last);
        if (*books).last == next.0 {
            (*books).last = head.0;
        }
        if last == 0 {
            *head.next().word(1) = head.size();
        }
    }
}

/// Gives back what a block in use has beyond `size`, if that is worth a block.
unsafe fn cut(books: *mut Books, head: Head, size: usize) {
    // SAFETY: a block in use of at least `size` bytes.
    unsafe {
        let rest = head.size() - size;
        if rest < SMALL + HEAD {
            return;
        }
        let last = head.flags() & LAST;
        head.set(size, head.flags() & !LAST);
        let tail = head.next();
        tail.set(rest, last);
        *tail.word(1) = size;
        if last == 0 {
            *tail.next().word(1) = rest;
        } else if (*books).last == head.0 {
            (*books).last = tail.0;
        }
        free_large(books, tail.0);
    }
}

/// Which list holds free blocks of this size: four per power of two.
fn bin_of(size: usize) -> usize {
    let power = usize::BITS as usize - 1 - size.leading_zeros() as usize;
    ((power - 10) * 4 + ((size >> (power - 2)) & 3)).min(BINS - 1)
}

unsafe fn find(books: *mut Books, size: usize) -> Option<Head> {
    let bin = bin_of(size);
    // SAFETY: lists hold heads of free blocks.
    unsafe {
        let mut block = (*books).bins[bin];
        for _ in 0..LOOKS {
            if block == 0 {
                break;
            }
            let head = Head::at(block);
            if head.size() >= size {
                return Some(head);
            }
            block = *head.word(2);
        }
        let mut word = (bin + 1) / 64;
        let mut marks = if word < BINS / 64 { (*books).marks[word] & (!0 << ((bin + 1) % 64)) } else { 0 };
        loop {
            if marks != 0 {
                let larger = word * 64 + marks.trailing_zeros() as usize;
                return Some(Head::at((*books).bins[larger]));
            }
            word += 1;
            if word >= BINS / 64 {
                return None;
            }
            marks = (*books).marks[word];
        }
    }
}

unsafe fn link(books: *mut Books, head: Head) {
    // SAFETY: a block that is in no list; free blocks are large enough for two more words.
    unsafe {
        let bin = bin_of(head.size());
        let first = (*books).bins[bin];
        head.set(head.size(), head.flags() | FREE);
        *head.word(2) = first;
        *head.word(3) = 0;
        if first != 0 {
            *Head::at(first).word(3) = head.0;
        }
        (*books).bins[bin] = head.0;
        (*books).marks[bin / 64] |= 1 << (bin % 64);
    }
}

unsafe fn unlink(books: *mut Books, head: Head) {
    // SAFETY: a free block, so it is in the list of its size.
    unsafe {
        let (next, previous) = (*head.word(2), *head.word(3));
        if next != 0 {
            *Head::at(next).word(3) = previous;
        }
        if previous != 0 {
            *Head::at(previous).word(2) = next;
        } else {
            let bin = bin_of(head.size());
            (*books).bins[bin] = next;
            if next == 0 {
                (*books).marks[bin / 64] &= !(1 << (bin % 64));
            }
        }
        head.set(head.size(), head.flags() & !FREE);
    }
}

#[cfg(test)]
mod tests;
