import Basics
import MetadataModel
import RegistryModel
import Testing

@Suite("Feature levels of commands")
struct FeatureLevelTests {
    private static let ofFirst: Set<String> = [
        "put", "put over a condition", "delete", "delete over a condition", "delete a prefix", "delete a range",
        "delete to the end", "create sequential", "transaction", "end session",
    ]

    @Test("what the first protocol had needs level 1, the registry 3, everything between them 2")
    func levels() throws {
        for sample in Samples.mutations {
            let level = try Command.validate(Samples.command(sample.mutation).rawSpan).featureLevel
            #expect(level == (Self.ofFirst.contains(sample.name) ? 1 : 2), "\(sample.name)")
        }
        let guards = [Guard(kind: .election, name: RegistryCommand.electionGroup, fence: 7)]
        var writer = ByteWriter()
        CommandHeader(kind: .registry, session: Samples.session, sequence: 1, guards: guards).encode(into: &writer)
        Mutation.registry(.agentMarkGone(id: Samples.key)).encodeBody(into: &writer)
        #expect(try Command.validate(writer.takeBytes().rawSpan).featureLevel == 3)
        #expect(FeatureLevel.known == 3)
    }

    @Test("an owned put in either branch of a transaction, and guards on any command, need level 2")
    func hidden() throws {
        let owned = Transaction(then: [], otherwise: [.putOwned(key: Samples.key, value: Samples.value)])
        #expect(try Command.validate(Samples.command(.transaction(owned)).rawSpan).featureLevel == 2)
        var writer = ByteWriter()
        CommandHeader(kind: .delete, session: Samples.session, sequence: 1, guards: Samples.guards).encode(into: &writer)
        Mutation.delete(key: Samples.key).encodeBody(into: &writer)
        #expect(try Command.validate(writer.takeBytes().rawSpan).featureLevel == 2)
    }

    @Test("the record of a founding at the first level is that of old; another level stands at its end")
    func foundingRecord() throws {
        var record = Samples.founding
        #expect(record.encoded()[0] == 1)
        record.featureLevel = 2
        #expect(record.encoded()[0] == 3)
        #expect(try FoundingRecord(decoding: record.encoded().rawSpan) == record)
        record.membershipIndex = LogIndex(9)
        #expect(try FoundingRecord(decoding: record.encoded().rawSpan) == record)
    }
}
