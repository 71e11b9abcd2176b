internal import ArgumentParser
internal import Basics
internal import Client
internal import Glibc

/// The three files with which a node and a client show each other who they are.
struct TLSOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("Own certificate (PEM), with those up to the CA.", valueName: "FILE"))
    var tlsCert: String?
    @Option(name: .long, help: ArgumentHelp("The certificate's private key (PEM).", valueName: "FILE"))
    var tlsKey: String?
    @Option(name: .long, help: ArgumentHelp("Certificates of the CAs that are trusted (PEM).", valueName: "FILE"))
    var tlsCa: String?

    /// Of a client: flags above the environment (QUORATE_TLS_CERT, QUORATE_TLS_KEY, QUORATE_TLS_CA).
    func files() throws(CommandError) -> MetadataClientTLS? {
        func environment(_ name: String) -> String? {
            getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        }
        let files = try TLSFiles.given(
            certificate: tlsCert ?? environment("QUORATE_TLS_CERT"), key: tlsKey ?? environment("QUORATE_TLS_KEY"),
            authority: tlsCa ?? environment("QUORATE_TLS_CA"))
        guard let files else { return nil }
        let tls = MetadataClientTLS(certificate: files.certificate, key: files.key, authority: files.authority)
        var attemptsLeft = 5
        while true {
            do throws(ClientError) {
                try tls.check()
                return tls
            } catch {
                attemptsLeft -= 1
                guard attemptsLeft > 0 else { throw .usage(error.message) }
                // Whoever renews a certificate replaces one file after the other: for a moment they do not belong together.
                usleep(50_000)
            }
        }
    }
}
