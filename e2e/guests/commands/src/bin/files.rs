//! Does one thing with files after another, as its arguments say:
//! `write PATH TEXT`, `read PATH`, `list FOLDER`, `remove PATH`, `make FOLDER`, `size PATH`.
//! A thing that is refused is told on stdout and ends the program with 1.
use std::io::{self, Write};
use std::{env, fs, process};

fn main() {
    let mut words = env::args().skip(1);
    while let Some(verb) = words.next() {
        let path = words.next().unwrap_or_default();
        let done = match verb.as_str() {
            "write" => write(&path, &words.next().unwrap_or_default()),
            "read" => fs::read_to_string(&path).map(|text| println!("{}", text.trim_end())),
            "list" => list(&path),
            "remove" => fs::remove_file(&path),
            "make" => fs::create_dir(&path),
            "size" => fs::metadata(&path).map(|about| println!("{}", about.len())),
            _ => panic!("{verb} is none of my verbs"),
        };
        if let Err(error) = done {
            println!("{verb} {path}: refused ({:?})", error.kind());
            process::exit(1);
        }
    }
}

fn write(path: &str, text: &str) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    writeln!(file, "{text}")
}

fn list(folder: &str) -> io::Result<()> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    println!("{}", names.join(" "));
    Ok(())
}
