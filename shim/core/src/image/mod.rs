//! Which bytes are the program, and of which kind they are.
