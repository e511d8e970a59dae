//! A WASI 0.3 command: greets its first argument.
wasip3::cli::command::export!(Hello);

struct Hello;

impl wasip3::exports::cli::run::Guest for Hello {
    async fn run() -> Result<(), ()> {
        let arguments = wasip3::cli::environment::get_arguments();
        let name = arguments.get(1).map_or("World", String::as_str);
        let greeting = format!("Hello from WASI 0.3, {name}!\n").into_bytes();
        let (mut writer, reader) = wasip3::wit_stream::new();
        futures::join!(
            async { wasip3::cli::stdout::write_via_stream(reader).await.expect("stdout takes it") },
            async {
                assert!(writer.write_all(greeting).await.is_empty());
                drop(writer);
            }
        );
        Ok(())
    }
}
