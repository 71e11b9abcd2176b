import StateEngine
import Testing

@testable import RocksEngine

/// Damage is replaced, so only damage may be called so.
@Suite struct OpeningErrorTests {
    @Test(
        "what another release of RocksDB may open is not damage",
        arguments: [
            "Not implemented: Unsupported compression method for this build: ZSTD",
            "Invalid argument: Column families not opened: later",
            "IO error: No such file or directory: While mkdir if missing: /gone/state-1",
        ])
    func unknown(_ text: String) {
        guard case .io(let said) = EngineError(rocksText: text).metAtOpening(in: "/data/state-1") else {
            Issue.record("\(text) is taken for damage")
            return
        }
        #expect(said.hasPrefix(text) && said.contains("/data/state-1"))
    }

    @Test(
        "damage is",
        arguments: [
            "Corruption: CURRENT file does not end with newline",
            "IO error: No such file or directory: While opening a file for sequentially reading: /d/state-1/MANIFEST-000009",
        ])
    func damage(_ text: String) {
        guard case .corrupt(let said) = EngineError(rocksText: text).metAtOpening(in: "/d/state-1") else {
            Issue.record("\(text) is not taken for damage")
            return
        }
        #expect(said.contains("/d/state-1"))
    }
}
