//! Which blocks of a state stay, so that they can lie side by side.
//!
//! What is needed only while a state is built leaves holes between what stays, and each run copies those too. So
//! a state is built twice: the first time it is noted which requests ask for a block that stays; the second time
//! those are served from the start of the arena, all others from its middle. If the second run asks for other
//! things than the first, a block in the middle may be left over: [`Arena::take_seats`] tells, and the state is
//! not to be used.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;

use super::{Arena, Books, GRAIN, account, allocate, free, take};

/// What is known of the requests of one build, in their order.
#[derive(Debug)]
pub enum Seats {
    /// They are counted, and the number of each block that is alive is kept.
    Noted {
        /// Requests so far.
        requests: usize,
        /// Blocks by address.
        alive: HashMap<usize, usize>,
    },
    /// It was noted which ones stay.
    Given {
        /// By number of the request.
        stays: Vec<bool>,
        /// Requests so far.
        requests: usize,
        /// Where the middle begins, and what is free of it.
        middle: (usize, usize),
        /// Blocks in the middle that are alive.
        guests: usize,
    },
}

impl Arena {
    /// Has the requests to [`seat`] noted.
    pub fn note_seats(&mut self) {
        self.set_seats(Seats::Noted { requests: 0, alive: HashMap::new() });
    }

    /// Has the requests to [`seat`] served by what was noted of another arena's.
    pub fn give_seats(&mut self, stays: Vec<bool>) {
        let middle = (self.base.as_ptr() as usize + self.size / 2).next_multiple_of(4096);
        self.set_seats(Seats::Given { stays, requests: 0, middle: (middle, middle), guests: 0 });
    }

    fn set_seats(&mut self, seats: Seats) {
        self.seats = Some(Box::new(seats));
        let pointer = self.seats.as_deref_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: the books are valid as long as `self`; the box stays until `take_seats`.
        unsafe { (*self.books()).seats = pointer }
    }

    /// Ends what [`Arena::note_seats`] began: which requests' blocks are alive.
    pub fn noted_seats(&mut self) -> Vec<bool> {
        let Some(Seats::Noted { requests, alive }) = self.drop_seats() else { return Vec::new() };
        let mut stays = vec![false; requests];
        for request in alive.into_values() {
            stays[request] = true;
        }
        stays
    }

    /// Ends what [`Arena::give_seats`] began: whether nothing but what stays is left. The middle's memory goes
    /// back to the kernel.
    pub fn take_seats(&mut self) -> bool {
        let Some(Seats::Given { middle: (start, end), guests, .. }) = self.drop_seats() else { return false };
        guests == 0 && (start == end || self.give_back(start - self.base.as_ptr() as usize, end - start))
    }

    fn drop_seats(&mut self) -> Option<Seats> {
        // SAFETY: as in `set_seats`.
        unsafe { (*self.books()).seats = ptr::null_mut() }
        self.seats.take().map(|seats| *seats)
    }
}

/// LuaJIT's allocator while a state is built.
///
/// # Safety
/// As for [`allocate`], while seats are noted or given.
pub unsafe extern "C" fn seat(data: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    let books = data.cast::<Books>();
    // SAFETY: by this function's contract `books` is valid, and so are its seats; nobody else refers to them
    // during the call.
    unsafe {
        match &mut *(*books).seats {
            Seats::Noted { requests, alive } => {
                let given = allocate(data, block, old, new);
                alive.remove(&(block as usize));
                if new != 0 {
                    alive.insert(given as usize, *requests);
                    *requests += 1;
                }
                given
            }
            Seats::Given { stays, requests, middle, guests } => {
                let old = if block.is_null() { 0 } else { old };
                account(books, old, new);
                let mut given = ptr::null_mut::<u8>();
                if new != 0 {
                    let address = if stays.get(*requests).copied().unwrap_or(false) {
                        take(books, new)
                    } else {
                        *guests += 1;
                        guest(books, &mut middle.1, new)
                    };
                    *requests += 1;
                    given = address as *mut u8;
                    given.copy_from_nonoverlapping(block.cast(), old.min(new));
                }
                if block as usize >= middle.0 {
                    *guests -= 1;
                } else if !block.is_null() {
                    free(books, block as usize, old);
                }
                given.cast()
            }
        }
    }
}

/// A block in the middle, which is used once.
unsafe fn guest(books: *mut Books, end: &mut usize, size: usize) -> usize {
    let block = *end;
    *end += size.next_multiple_of(GRAIN);
    // SAFETY: `books` is valid.
    unsafe {
        if *end > (*books).top {
            ((*books).ends.hard)((*books).used as u64);
        }
    }
    block
}
