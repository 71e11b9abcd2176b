import Foundation

/// The program under test.
enum Binary {
    static func path() throws -> String {
        if let path = ProcessInfo.processInfo.environment["QUORATE_BINARY"], !path.isEmpty {
            guard FileManager.default.isExecutableFile(atPath: path) else {
                throw TestFailure("QUORATE_BINARY is \(path), which is no program")
            }
            return path
        }
        // Tests/ServerTests/Support/Binary.swift
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let candidates = ["release", "debug"].map { root.appending(path: ".build/\($0)/quorate").path }
        guard let path = candidates.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else {
            throw TestFailure(
                "there is no quorate to test. Build it with `swift build -c release --product quorate`, or name one with "
                    + "QUORATE_BINARY; looked for \(candidates.joined(separator: " and "))")
        }
        return path
    }
}

/// Something that must hold for a test to go on does not.
struct TestFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
