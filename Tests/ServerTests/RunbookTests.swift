import Foundation
import Testing

extension ServerTests {
    /// What ops/runbook.md tells people to do, done as it is written, on machines made of namespaces. Where there can be
    /// none it fails: a runbook that nobody has tried is worse than none.
    @Suite struct RunbookTests {
        private static let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Runbook/run").path

        @Test("each page of the runbook does what it says", .timeLimit(.minutes(12)))
        func pages() async throws {
            let directory = try Scratch.makeDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let (ending, output, errors) = try await Command.run(
                "/usr/bin/env", ["python3", Self.script, try Binary.path()], in: directory, timeout: .seconds(660))
            #expect(ending == .exited(0), "\(output)\(errors)")
            #expect(output.hasSuffix("all pages passed\n"), "\(output)\(errors)")
        }
    }
}
