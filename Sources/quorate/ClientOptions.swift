internal import ArgumentParser
internal import Basics
internal import Glibc

enum ReadLevelOption: String, CaseIterable, ExpressibleByArgument {
    case linearizable, stale
}

/// What every command that talks to a cluster takes.
struct ClientOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Client addresses of some or all nodes, separated by commas.",
            discussion: "Default: QUORATE_ENDPOINTS, else the addresses of `quorate local`.",
            valueName: "HOST:PORT,…"))
    var endpoints: String?

    @Option(name: .long, help: ArgumentHelp("Give up after this long.", valueName: "TIME"))
    var timeout = TimeQuantity(.seconds(5))

    @OptionGroup(title: "TLS (default: QUORATE_TLS_CERT, QUORATE_TLS_KEY, QUORATE_TLS_CA; else plain TCP)")
    var tls: TLSOptions

    @Flag(name: .long, help: "Print JSON, errors included.")
    var json = false

    /// Where `quorate local` listens unless told otherwise.
    static let localEndpoints = (0..<3).map { "127.0.0.1:\(LocalLayout.basePortDefault + $0)" }

    mutating func validate() throws {
        guard timeout.interval > .zero else { throw ValidationError("--timeout must be longer than nothing.") }
    }

    func endpointList() throws -> [String] {
        let (text, source): (String, String)
        if let endpoints {
            (text, source) = (endpoints, "--endpoints")
        } else if let variable = getenv("QUORATE_ENDPOINTS"), variable.pointee != 0 {
            (text, source) = (String(cString: variable), "QUORATE_ENDPOINTS")
        } else {
            return Self.localEndpoints
        }
        return try text.split(separator: ",").map { part in
            let part = part.filter { !$0.isWhitespace }
            guard let address = HostPort(part), address.port != 0 else {
                throw CommandError.usage("\(source): \"\(part)\" is not HOST:PORT, as in 127.0.0.1:7400")
            }
            return address.description
        }
    }
}

/// For commands that read.
struct ReadOptions: ParsableArguments {
    @Option(
        name: .long,
        help: "linearizable sees every write that was acknowledged before; stale asks one node and may be behind.")
    var readLevel = ReadLevelOption.linearizable
}
