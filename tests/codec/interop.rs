//! Other programs read what is written here, and the other way round: the `gzip` program; Python's `gzip` and `zlib`; and
//! `cramjam` for Snappy, LZ4 and Zstandard.
//!
//! `LARDER_PYTHON` names the interpreter, `python3` unless it is set; it needs `pip install cramjam`. What is missing is left
//! out, with a word on the standard error, unless `LARDER_REQUIRE_INTEROP` is set: then it is a failure.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread;

use larder::codec::*;

use crate::values::{self, Random};

fn plains() -> Vec<Vec<u8>> {
    let random = &mut Random::new(1);
    let mut all = vec![Vec::new(), b"x".to_vec(), vec![0; 1 << 20], random.bytes(300_000)];
    all.extend([values::user_json(random), values::json(random), values::html(random), values::image(random)]);
    all
}

/// Says that something is left out, past the capture of what tests print; or fails, if nothing may be.
fn leave_out(what: &str) {
    assert!(env::var_os("LARDER_REQUIRE_INTEROP").is_none(), "{what} is missing, and LARDER_REQUIRE_INTEROP is set");
    let _ = writeln!(io::stderr(), "LEFT OUT: interoperability with {what}, which is not installed");
}

/// What a program writes when it is given `input`; `None` if there is no such program.
fn run(command: &mut Command, input: &[u8]) -> Option<Vec<u8>> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{command:?}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn python() -> OsString {
    env::var_os("LARDER_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Whether there is an interpreter with this module.
fn has_module(module: &str) -> bool {
    let found = Command::new(python()).arg("-c").arg(format!("import {module}")).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// What a function of Python's makes of each value. Values go in and come out with their lengths before them.
fn by_python(module: &str, function: &str, values: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let program = format!(
        "import sys, struct, {module}\n\
         f = {function}\n\
         i, o = sys.stdin.buffer, sys.stdout.buffer\n\
         while h := i.read(4):\n    \
             r = bytes(f(i.read(struct.unpack('<I', h)[0])))\n    \
             o.write(struct.pack('<I', len(r)) + r)\n"
    );
    let input: Vec<u8> =
        values.iter().flat_map(|value| [&(value.len() as u32).to_le_bytes(), &value[..]].concat()).collect();
    let output = run(Command::new(python()).arg("-c").arg(program), &input).expect("there is an interpreter");
    let mut rest = &output[..];
    let mut results = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk() {
        let (result, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        results.push(result.to_vec());
        rest = after;
    }
    assert_eq!(results.len(), values.len());
    results
}

fn encoded(codec: &dyn Codec, plains: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let encode = |plain: &Vec<u8>| {
        let mut stored = Vec::new();
        codec.encode(b"", plain, &mut stored).unwrap();
        stored
    };
    plains.iter().map(encode).collect()
}

fn assert_decodes(codec: &dyn Codec, stored: &[Vec<u8>], plains: &[Vec<u8>]) {
    for (stored, plain) in stored.iter().zip(plains) {
        let mut back = Vec::new();
        codec.decode(b"", stored, plain.len(), &mut back).unwrap();
        assert!(back == *plain, "{}: {} bytes came back as others", codec.name(), plain.len());
    }
}

/// Both directions, with each of these codecs.
#[cfg(any(feature = "deflate", feature = "snappy", feature = "zstd"))]
fn check_by_python(module: &str, encode: &str, decode: &str, codecs: &[&dyn Codec]) {
    if !has_module(module) {
        return leave_out(&format!("Python's {module}"));
    }
    let plains = plains();
    let theirs = by_python(module, encode, &plains);
    for codec in codecs {
        assert_decodes(*codec, &theirs, &plains);
        let ours = encoded(*codec, &plains);
        assert!(by_python(module, decode, &ours) == plains, "Python reads other values than {} wrote", codec.name());
    }
}

#[test]
#[cfg(feature = "deflate")]
fn gzip_as_python_has_it() {
    let [fast, small] = [1, 9].map(|level| Gzip::new(level).unwrap());
    check_by_python("gzip", "gzip.compress", "gzip.decompress", &[&fast, &Gzip::default(), &small]);
}

#[test]
#[cfg(feature = "deflate")]
fn zlib_as_python_has_it() {
    let [stored, small] = [0, 9].map(|level| Zlib::new(level).unwrap());
    check_by_python("zlib", "zlib.compress", "zlib.decompress", &[&stored, &Zlib::default(), &small]);
}

#[test]
#[cfg(feature = "deflate")]
fn deflate_as_python_has_it() {
    let encode = "lambda v: (lambda c: c.compress(v) + c.flush())(zlib.compressobj(wbits=-15))";
    check_by_python("zlib", encode, "lambda v: zlib.decompress(v, -15)", &[&Deflate::default()]);
}

#[test]
#[cfg(feature = "snappy")]
fn snappy_as_cramjam_has_it() {
    check_by_python("cramjam", "cramjam.snappy.compress_raw", "cramjam.snappy.decompress_raw", &[&Snappy]);
}

#[test]
#[cfg(feature = "lz4")]
fn lz4_as_cramjam_has_it() {
    if !has_module("cramjam") {
        return leave_out("Python's cramjam");
    }
    let plains = plains();
    let theirs = by_python("cramjam", "lambda v: cramjam.lz4.compress_block(v, store_size=False)", &plains);
    assert_decodes(&Lz4, &theirs, &plains);
    // A block does not say how long its value is; theirs do, in four bytes before it.
    let mut ours = encoded(&Lz4, &plains);
    for (block, plain) in ours.iter_mut().zip(&plains) {
        block.splice(0..0, (plain.len() as u32).to_le_bytes());
    }
    assert!(by_python("cramjam", "cramjam.lz4.decompress_block", &ours) == plains);
}

#[test]
#[cfg(feature = "zstd")]
fn zstandard_as_cramjam_has_it() {
    let small = Zstd::new(19).unwrap();
    check_by_python("cramjam", "cramjam.zstd.compress", "cramjam.zstd.decompress", &[&Zstd::default(), &small]);
}

#[test]
#[cfg(feature = "deflate")]
fn gzip_as_the_program_has_it() {
    let gzip = |arguments: &[&str], input: &[u8]| run(Command::new("gzip").args(arguments), input);
    for plain in plains() {
        for level in ["-1", "-9"] {
            let Some(theirs) = gzip(&["-c", level], &plain) else { return leave_out("the program gzip") };
            assert_decodes(&Gzip::default(), &[theirs], std::slice::from_ref(&plain));
        }
        let ours = encoded(&Gzip::default(), std::slice::from_ref(&plain));
        assert!(gzip(&["-dc"], &ours[0]).as_ref() == Some(&plain));
    }
}

#[test]
#[cfg(feature = "deflate")]
fn gzip_files_with_a_name_and_of_several_members_are_read() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let plain = values::html(&mut Random::new(1));
    let path = directory.join(format!("a name {}.html", std::process::id()));
    std::fs::write(&path, &plain).unwrap();
    let named = run(Command::new("gzip").arg("-cN").arg(&path), b"");
    std::fs::remove_file(&path).unwrap();
    let Some(named) = named else { return leave_out("the program gzip") };
    assert!(named.windows(6).any(|window| window == b"a name"));
    let both = [&named[..], &named, &encoded(&Gzip::default(), &[Vec::new()])[0]].concat();
    assert_decodes(&Gzip::default(), &[named, both], &[plain.clone(), plain.repeat(2)]);
}

/// Headers with all that the format knows, as RFC 1952 has them.
#[test]
#[cfg(feature = "deflate")]
fn gzip_headers_are_read_to_their_end() {
    let plain = b"some text, some text, some text".to_vec();
    let ours = encoded(&Gzip::default(), std::slice::from_ref(&plain)).remove(0);
    let crc16 = |header: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(header);
        (crc.sum() as u16).to_le_bytes()
    };
    let header = |flags: u8, more: &[u8]| [&ours[..3], &[flags], &ours[4..10], more].concat();
    let sealed = |header: Vec<u8>| {
        let crc = crc16(&header);
        [&header[..], &crc].concat()
    };
    let full = sealed(header(0b1_1110, b"\x05\x00extraname\0a comment\0"));
    for header in
        [header(0b100, b"\x00\x00"), header(0b1000, b"\0"), header(1, b""), sealed(header(2, b"")), full.clone()]
    {
        assert_decodes(&Gzip::default(), &[[&header[..], &ours[10..]].concat()], std::slice::from_ref(&plain));
    }
    let damaged = [
        [&full[..full.len() - 1], &[full[full.len() - 1] ^ 1], &ours[10..]].concat(),
        [&header(0b100, b"\xff\xff")[..], &ours[10..]].concat(),
        [&header(0b1000, b"no end")[..]].concat(),
        [&header(0b10_0000, b"")[..], &ours[10..]].concat(),
        header(0b10, b"\x01"),
    ];
    for damaged in damaged {
        let mut out = Vec::new();
        let result = Gzip::default().decode(b"", &damaged, plain.len(), &mut out);
        assert!(matches!(result, Err(CodecError::Damaged { .. })), "{result:?}");
    }
}
