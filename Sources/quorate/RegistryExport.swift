internal import ArgumentParser
internal import Client
internal import Glibc
internal import MesosRegistry
internal import RegistryModel

struct RegistryExport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write the registry as the JSON document of a Mesos master.",
        discussion: """
            All of it is of one revision. Equal registries give the same text: members in the order of their names, no
            blanks, numbers in one way, lists whose order says nothing sorted. What the document has no place for is left
            out: frameworks, operations, what tasks hold, addresses and capabilities of agents.
            """)

    @Argument(help: ArgumentHelp("The file; - for standard output.", valueName: "FILE")) var file: String = "-"
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let view = try await ClusterClient.with(options) {
            try await $0.client.registry(level: read.readLevel.level)
        }
        var writer = DocumentWriter()
        for record in view.records.values { writer.add(record) }
        let document: JSONValue
        do throws(DocumentWriter.Refusal) {
            document = try writer.document()
        } catch {
            throw CommandError("failed", error.description)
        }
        let text = document.bytes + [0x0A]
        guard file != "-" else { return Output.write(text) }
        try Self.write(text, to: file)
        Output.line(
            options.json
                ? JSON.object([("bytes", .number(UInt64(text.count))), ("revision", .number(view.revision))]).text
                : "\(text.count) bytes, revision \(view.revision)")
    }

    /// Whoever opens the file meets all of the document, or the file as it was.
    private static func write(_ text: [UInt8], to path: String) throws {
        let partial = path + ".partial"
        let descriptor = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure(partial) }
        defer { close(descriptor) }
        var written = 0
        while written < text.count {
            let count = text[written...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure(partial) }
            written += count
        }
        guard fsync(descriptor) == 0 else { throw failure(partial) }
        guard rename(partial, path) == 0 else { throw failure(path) }
    }

    private static func failure(_ path: String) -> CommandError {
        CommandError("file", "cannot write \(path): \(String(cString: strerror(errno)))")
    }
}
