//! A SQLite that knows no file system: every file that it would open cannot be. Its chance comes from the
//! kernel's `getrandom`, which the jail allows, its time from the clock.
//!
//! Whatever SQL asks for (`ATTACH`, temporary files, `VACUUM INTO`), no system call for a file follows.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::ffi;

use super::SqlError;
use super::memory::check;

/// The longest file name.
const LONGEST: c_int = 512;

/// The day number of 1970-01-01T00:00Z that SQLite counts from.
const EPOCH: f64 = 2_440_587.5;

/// Makes it the only file system that SQLite uses.
pub(super) fn install() -> Result<(), SqlError> {
    let none = ffi::sqlite3_vfs {
        iVersion: 1,
        szOsFile: c_int::try_from(size_of::<ffi::sqlite3_file>()).unwrap_or(c_int::MAX),
        mxPathname: LONGEST,
        pNext: ptr::null_mut(),
        zName: c"none".as_ptr(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(random),
        xSleep: Some(sleep),
        xCurrentTime: Some(time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    // SQLite keeps the address for the life of the process.
    let none = Box::leak(Box::new(none));
    // SAFETY: the structure is complete for its version and lives for ever.
    check(unsafe { ffi::sqlite3_vfs_register(none, 1) })
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    _: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    _: c_int,
    _: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for a file; without methods it will not be closed.
    unsafe { (*file).pMethods = ptr::null() };
    ffi::SQLITE_CANTOPEN
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE_NOENT
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    _: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives where to put the answer.
    unsafe { *found = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the name ends with a zero; `out` has room for that many bytes.
    unsafe {
        let length = libc::strlen(name);
        if usize::try_from(room).is_ok_and(|room| length < room) {
            ptr::copy_nonoverlapping(name, out, length + 1);
            return ffi::SQLITE_OK;
        }
    }
    ffi::SQLITE_CANTOPEN
}

unsafe extern "C" fn random(_: *mut ffi::sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    let size = usize::try_from(size).unwrap_or(0);
    // SAFETY: `out` has room for that many bytes.
    let filled = unsafe { libc::getrandom(out.cast::<c_void>(), size, 0) };
    c_int::try_from(filled).unwrap_or(0).max(0)
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, _: c_int) -> c_int {
    // Nobody else can hold a lock that would be worth waiting for.
    0
}

unsafe extern "C" fn time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // SAFETY: SQLite gives where to put the answer.
    unsafe { *out = EPOCH + now.as_secs_f64() / 86_400.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
