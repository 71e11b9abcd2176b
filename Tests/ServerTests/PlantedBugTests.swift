import Foundation
import Testing

/// Bugs that are planted to test the simulator exist in a build of their own.
@Suite("Planted bugs")
struct PlantedBugTests {
    @Test("a release binary holds none of them, not even their names")
    func releaseHoldsNone() throws {
        let path = try Binary.path()
        // Where nothing is optimised, the names stay, as words that lead to nothing.
        guard !URL(filePath: path).resolvingSymlinksInPath().path.contains("/debug/") else { return }
        // Tests/ServerTests/PlantedBugTests.swift
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let source = try String(contentsOf: root.appending(path: "Sources/Basics/Mutant.swift"), encoding: .utf8)
        let names = source.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { $0.hasPrefix("case ") }.map { String($0.dropFirst("case ".count)) }
        #expect(names.count >= 40)
        let binary = try Data(contentsOf: URL(filePath: path), options: .mappedIfSafe)
        // What is in every build is found, so the search finds.
        #expect(binary.range(of: Data("generationChanged".utf8)) != nil)
        for name in names { #expect(binary.range(of: Data(name.utf8)) == nil, "\(name)") }
    }
}
