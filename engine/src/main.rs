fn main() -> std::process::ExitCode {
    agents::main()
}
