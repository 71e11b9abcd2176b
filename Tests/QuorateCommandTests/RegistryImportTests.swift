import ArgumentParser
import MesosRegistry
import RegistryModel
import Testing

@testable import quorate

@Suite("Importing a registry by command")
struct RegistryImportTests {
    @Test("a file, or an import to abort; --check is for a file")
    func arguments() throws {
        let check = try RegistryImport.parse(["registry.json", "--check"])
        #expect(check.file == "registry.json" && check.check && !check.abort)
        let abort = try RegistryImport.parse(["--abort", "--fence", "7"])
        #expect(abort.file == nil && abort.abort && abort.fence == 7)
        #expect(try RegistryExport.parse([]).file == "-")
        for wrong in [
            [], ["a.json", "--abort"], ["--abort", "--check"],
            ["a.json", "--fence", "0"],
        ] {
            #expect(throws: (any Error).self) { try RegistryImport.parse(wrong) }
        }
    }

    @Test("with --json each part that is wrong is an object")
    func problems() {
        let problem = ImportProblem(
            path: "weights[0].info", rule: .weightNotPositive, detail: "role db: a weight of 0.0")
        #expect(
            RegistryImport.json([problem], "f cannot be imported").text
                == #"{"error":"rejected","message":"f cannot be imported","retryable":false,"problems":"#
                + #"[{"path":"weights[0].info","rule":"weight.not-positive","message":"role db: a weight of 0.0"}]}"#)
        #expect(problem.description == "weights[0].info: weight.not-positive: role db: a weight of 0.0")
    }
}
