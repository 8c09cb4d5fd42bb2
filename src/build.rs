//! What Cargo runs before it builds: links the unwinder in.
//!
//! std asks the linker for `libgcc_s.so`, which the loader then maps and relocates at every start, a twelfth of a
//! short run. The same code stands in `libgcc_eh.a`, and a linker script of the shared library's name puts it into the
//! program (`ld`, "Implicit Linker Scripts"). Where the compiler has no such archive the program is linked as ever.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Stands for libgcc_s: the unwinder, what it calls of the compiler's, and the libc that it asks for program headers.
const SCRIPT: &str = "GROUP ( -lgcc_eh -lgcc -lc )\n";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    let Some(directory) = env::var_os("OUT_DIR").map(PathBuf::from) else { return Ok(()) };
    if is_wanted() && has_archive() {
        fs::write(directory.join("libgcc_s.so"), SCRIPT)?;
        // Not as a place to search for libraries, for Cargo would let the loader look there too.
        println!("cargo:rustc-link-arg=-L{}", directory.display());
    }
    Ok(())
}

/// Only glibc's targets ask for libgcc_s.
fn is_wanted() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu")
}

/// Asks the compiler that will link. For another machine's program that is the one Cargo was told of, or nobody.
fn has_archive() -> bool {
    let linker = env::var_os("RUSTC_LINKER");
    if linker.is_none() && env::var_os("HOST") != env::var_os("TARGET") {
        return false;
    }
    let linker = linker.unwrap_or_else(|| "cc".into());
    let Ok(said) = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output() else { return false };
    // What it does not find it repeats as it was asked.
    said.status.success() && Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_absolute()
}
