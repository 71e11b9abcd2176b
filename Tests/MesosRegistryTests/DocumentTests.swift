import MesosRegistry
import RegistryModel
import Testing

@Suite("The document of a Mesos master's registry")
struct DocumentTests {
    /// Every part that a document can have, each of them also with what nobody here knows.
    static let everything = #"""
        {
          "zone": {"b": [1.0, {"d": null, "c": [] }], "a": 1e2},
          "master": {
            "info": {
              "id": "d0a7", "ip": 16777343, "port": 5050, "pid": "master@127.0.0.1:5050", "hostname": "",
              "version": "1.9.0", "address": {"hostname": "m", "ip": "127.0.0.1", "port": 5050},
              "capabilities": [{"type": "AGENT_UPDATE"}]
            },
            "lease": 3
          },
          "slaves": {
            "slaves": [
              {
                "info": {
                  "id": {"value": "s2", "shard": 7}, "hostname": "b.example", "port": 5051, "checkpoint": true,
                  "domain": {"fault_domain": {"zone": {"name": "z"}, "region": {"name": "r"}}},
                  "attributes": [
                    {"name": "rack", "type": "TEXT", "text": {"value": "r1"}},
                    {"name": "load", "type": "SCALAR", "scalar": {"value": 0.1000}},
                    {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 5, "end": 6}, {"begin": 1, "end": 2}]}},
                    {"name": "none", "type": "RANGES", "ranges": {}},
                    {"name": "zones", "type": "SET", "set": {"item": ["b", "a"]}, "seen": true}
                  ],
                  "resources": [
                    {"name": "cpus", "type": "SCALAR", "scalar": {"value": 8.0}, "role": "*"},
                    {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0004}, "role": "web"},
                    {"name": "mem", "type": "SCALAR", "scalar": {"value": 1024}},
                    {"name": "gpus", "type": "SCALAR", "scalar": {"value": 0}},
                    {"name": "ports", "type": "RANGES", "role": "*",
                     "ranges": {"range": [{"begin": 31000, "end": 31999}, {"begin": 32000, "end": 32000}]}},
                    {"name": "zones", "type": "SET", "set": {"item": ["y", "x"]}, "role": "*"},
                    {"name": "disk", "type": "SCALAR", "scalar": {"value": 100}, "role": "db",
                     "reservation": {"principal": "p", "labels": {"labels": [{"key": "k"}, {"key": "j", "value": ""}]}}},
                    {"name": "disk", "type": "SCALAR", "scalar": {"value": 50},
                     "reservations": [{"type": "DYNAMIC", "role": "db", "principal": "p"}],
                     "disk": {"persistence": {"id": "wal", "principal": "p"},
                              "volume": {"container_path": "wal", "mode": "RW"}}},
                    {"name": "disk", "type": "SCALAR", "scalar": {"value": 10},
                     "reservations": [{"type": "STATIC", "role": "a"},
                                      {"type": "DYNAMIC", "role": "a/b", "labels": {}, "audit": "x"}],
                     "disk": {"source": {"type": "PATH", "path": {"root": "/data"}, "vendor": "v", "profile": "fast"}}},
                    {"name": "disk", "type": "SCALAR", "scalar": {"value": 500}, "role": "*",
                     "disk": {"source": {"type": "MOUNT", "mount": {"root": "/mnt"}}}},
                    {"name": "disk", "type": "SCALAR", "scalar": {"value": 500}, "role": "*",
                     "disk": {"source": {"type": "MOUNT", "mount": {"root": "/mnt"}}}},
                    {"name": "disk", "type": "SCALAR", "scalar": {"value": 9}, "provider_id": {"value": "rp1"},
                     "disk": {"source": {"type": "RAW", "id": "r", "metadata": {"labels": [{"key": "m"}]}}}},
                    {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "role": "*", "revocable": {}}
                  ]
                }
              },
              {
                "info": {"id": {"value": "s1"}, "hostname": "a.example", "tier": {"x": [{}]}, "resources": []},
                "drain_info": {"state": "DRAINING", "why": "disk",
                               "config": {"max_grace_period": {"nanoseconds": 5000000000, "text": "5s"}}},
                "deactivated": true, "note": "n"
              },
              {
                "info": {"id": {"value": "s0"}, "hostname": "c.example", "port": 6000,
                         "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}, "role": "*"}]},
                "deactivated": false
              }
            ],
            "etag": "e"
          },
          "unreachable": {
            "slaves": [
              {"id": {"value": "u2"}, "timestamp": {"nanoseconds": 1700000000123456789}},
              {"id": {"value": "u1"}, "timestamp": {"nanoseconds": 5}, "deactivated": true, "reason": "net",
               "drain_info": {"state": "DRAINED", "config": {"mark_gone": true}}}
            ]
          },
          "gone": {"slaves": [{"id": {"value": "g2"}, "timestamp": {"nanoseconds": 2}},
                              {"id": {"value": "g1"}, "timestamp": {"nanoseconds": 1}, "by": "op"}]},
          "machines": {
            "machines": [
              {"info": {"id": {"hostname": "HOST2", "ip": "10.0.0.2"}, "mode": "DOWN",
                        "unavailability": {"start": {"nanoseconds": -5}}}},
              {"info": {"id": {"hostname": "host1"}, "mode": "DRAINING", "owner": "o",
                        "unavailability": {"start": {"nanoseconds": 7}, "duration": {"nanoseconds": 0}}}},
              {"info": {"id": {"ip": "10.0.0.3"}, "mode": "DRAINING",
                        "unavailability": {"start": {"nanoseconds": 7}}}}
            ]
          },
          "schedules": [
            {"windows": [
              {"machine_ids": [{"hostname": "host2", "ip": "10.0.0.2", "slot": 4}, {"hostname": "host1"}],
               "unavailability": {"start": {"nanoseconds": -5}}, "ticket": "T1"},
              {"machine_ids": [{"ip": "10.0.0.3"}],
               "unavailability": {"start": {"nanoseconds": 7}, "duration": {"nanoseconds": 9}}}
            ], "plan": 1}
          ],
          "quotas": [
            {"info": {"role": "old", "principal": "p",
                      "guarantee": [{"name": "mem", "type": "SCALAR", "scalar": {"value": 64}, "role": "*"},
                                    {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}], "force": true}}
          ],
          "quota_configs": [
            {"role": "web", "guarantees": {"cpus": {"value": 2.0004}, "gpus": {"value": 0}},
             "limits": {"cpus": {"value": 4, "soft": true}, "gpus": {"value": 0}}},
            {"role": "db", "guarantees": {}, "limits": {"mem": {"value": 128}}, "owner": "dba"}
          ],
          "weights": [{"info": {"role": "web", "weight": 2.50}}, {"info": {"role": "db", "weight": 1.0}, "x": 0}],
          "resource_provider_registry": {
            "resource_providers": [{"id": {"value": "rp1"}, "type": "org.x", "name": "n"}],
            "removed_resource_providers": [{"id": {"value": "rp0"}, "type": "org.x", "name": "m", "since": 1}]
          },
          "minimum_capabilities": [
            {"capability": "QUOTA_V2"}, {"capability": "AGENT_DRAINING"}, {"capability": "FUTURE", "from": "2.0"}
          ]
        }
        """#

    @Test("what goes in comes out, in canonical form", arguments: [nil, 1, 3])
    func roundTrip(chunkSize: Int?) throws {
        #expect(try imported(Self.everything, chunkSize: chunkSize) == canonical(Self.everything))
        // The canonical form of a document is a document, and its own canonical form.
        let once = try canonical(Self.everything)
        #expect(try imported(once, chunkSize: chunkSize) == once)
        #expect(try canonical(once) == once)
    }

    @Test(
        "small documents",
        arguments: [
            ("{}", "{}"), (#"{"schedules":[{}]}"#, #"{"schedules":[{}]}"#), (#"{"schedules":[]}"#, "{}"),
            (#"{"schedules":[{"windows":[]}],"slaves":{"slaves":[]},"gone":{}}"#, #"{"schedules":[{}]}"#),
            (#"{"slaves":{"x":1}}"#, #"{"slaves":{"x":1}}"#),
            (
                #"{"slaves":{"slaves":[{"info":{"hostname":"h","id":{"value":"a"}}}]}}"#,
                #"{"slaves":{"slaves":[{"deactivated":false,"info":{"checkpoint":false,"hostname":"h","id":{"value":"a"},"port":5051}}]}}"#
            ),
            (
                #"{"weights":[{"info":{"weight":3,"role":"b"}},{"info":{"role":"a","weight":0.5}}]}"#,
                #"{"weights":[{"info":{"role":"a","weight":0.5}},{"info":{"role":"b","weight":3}}]}"#
            ),
        ])
    func small(text: String, expected: String) throws {
        #expect(try canonical(text) == expected)
        #expect(try imported(text) == expected)
    }

    @Test("what has changed since is written as it is now, with what the document said besides")
    func changed() throws {
        let registry = Registry()
        try registry.take(try RegistryDocument(Array(Self.everything.utf8)))
        try registry.call(.agentMarkDrained(id: Array("s1".utf8)))
        try registry.call(.agentReactivate(id: Array("s1".utf8)))
        try registry.call(.weightsUpdate([Weight(role: Array("db".utf8), weight: 7)]))
        try registry.call(
            .quotaUpdate(
                [
                    QuotaConfig(
                        role: Array("web".utf8), limits: [NamedNumber(name: Array("cpus".utf8), number: 5)]),
                    QuotaConfig(role: Array("old".utf8)),
                ], isForced: true))
        let cpus = ResourceClaim(name: Array("cpus".utf8), type: .scalar, scalar: 16)
        try registry.call(.agentUpdate(id: Array("s0".utf8), AgentPatch(resources: [cpus])))
        let document = try registry.document()
        let agents = document["slaves"]?["slaves"].map(items) ?? []
        let agent = try #require(agents.first { text($0).contains(#""value":"s1""#) })
        #expect(agent["drain_info"] == nil && agent["deactivated"] == .bool(false))
        #expect(agent["note"] == .text("n") && agent["info"]?["tier"] != nil)
        let other = try #require(agents.first { text($0).contains(#""value":"s0""#) })
        #expect(
            text(try #require(other["info"]?["resources"]))
                == #"[{"name":"cpus","role":"*","scalar":{"value":16},"type":"SCALAR"}]"#)
        #expect(
            document["weights"].map(text)
                == #"[{"info":{"role":"db","weight":7},"x":0},{"info":{"role":"web","weight":2.5}}]"#)
        #expect(document["quotas"] == nil)
        let quotas = document["quota_configs"].map(items) ?? []
        #expect(quotas.map(text).last == #"{"limits":{"cpus":{"value":5}},"role":"web"}"#)
    }

    private func items(_ value: JSONValue) -> [JSONValue] {
        guard case .array(let items) = value else { return [] }
        return items
    }

    @Test("an agent whose entries have changed is written as it is, and only what still holds in the words of the document")
    func changedEntries() throws {
        let text = """
            {"slaves":{"slaves":[{"info":{"hostname":"h","id":{"value":"a"},"checkpoint":true,"resources":[
            {"name":"cpus","type":"SCALAR","scalar":{"value":3}},
            {"name":"cpus","type":"SCALAR","scalar":{"value":1}},
            {"name":"mem","type":"SCALAR","scalar":{"value":64},"unit":"MB"}]}}]}}
            """
        let registry = Registry()
        try registry.take(try RegistryDocument(Array(text.utf8)))
        var reserved = ResourceClaim(name: Array("cpus".utf8), type: .scalar, scalar: 1)
        reserved.reservations = [.init(kind: .dynamic, role: Array("db".utf8), principal: Array("p".utf8))]
        try registry.call(
            .operationsApply(
                [
                    OperationRequest(
                        agentID: Array("a".utf8), uuid: [UInt8](repeating: 1, count: 16), kind: .reserve([reserved]))
                ], isAtomic: true))
        let info = try #require(try registry.document()["slaves"]?["slaves"].map(items)?.first?["info"])
        #expect(
            info["resources"].map(MesosRegistryTests.text)
                == #"[{"name":"cpus","reservation":{"principal":"p"},"role":"db","scalar":{"value":1},"type":"SCALAR"},"#
                + #"{"name":"cpus","role":"*","scalar":{"value":3},"type":"SCALAR"},"#
                + #"{"name":"mem","scalar":{"value":64},"type":"SCALAR","unit":"MB"}]"#)
    }

    // MARK: - What is refused

    @Test("all that is wrong is named, with its place and its rule")
    func everyProblem() {
        let text = #"""
            {"slaves":{"slaves":[
              {"info":{"hostname":"h","id":{"value":"a"},"port":70000,"resources":[
                {"name":"cpus","type":"SCALAR","scalar":{"value":-1}},
                {"name":"x","type":"TEXT"},
                {"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"TAPE"}}}]}},
              {"info":{"id":{"value":"a"}},"deactivated":1},
              {"info":{"hostname":"h","id":{"value":"b/c"}},"drain_info":{"state":"DRAINING","config":{}}}]},
             "unreachable":{"slaves":[{"id":{"value":"a"},"timestamp":{"nanoseconds":-1}}]},
             "machines":{"machines":[{"info":{"id":{"hostname":"m"},"mode":"UP","unavailability":{"start":{"nanoseconds":0}}}}]},
             "schedules":[{"windows":[{"machine_ids":[],"unavailability":{"start":{"nanoseconds":0},"duration":{"nanoseconds":-1}}}]},{}],
             "quotas":[{"info":{"role":"q","guarantee":[]}}],
             "quota_configs":[{"role":"q","limits":{"cpus":{"value":1}}},{"role":"r"}],
             "weights":[{"info":{"role":"/w","weight":1}},{"info":{"role":"w","weight":0}},{"info":{"role":"w","weight":"1"}}],
             "minimum_capabilities":[{"capability":"X"},{"capability":"X"}],
             "gone":[]}
            """#
        #expect(
            Set(problems(text)) == [
                "minimum_capabilities[1] import.duplicate",
                "quotas[0].info quota.legacy-empty", "quota_configs[1] import.shape",
                "minimum_capabilities import.shape",
                "weights[0].info role.slash-edge", "weights[1].info weight.not-positive",
                "weights[2].info.weight import.shape", "machines.machines[0].info.mode import.shape",
                "schedules import.shape", "schedules[0].windows[0].unavailability schedule.duration-negative",
                "schedules[0].windows[0] schedule.window-empty",
                "slaves.slaves[0].info.port import.shape", "slaves.slaves[0].info.resources[0] scalar.invalid",
                "slaves.slaves[0].info.resources[1] resource.type-invalid",
                "slaves.slaves[0].info.resources[2] disk.type-unknown",
                "slaves.slaves[1].info.hostname import.shape", "slaves.slaves[1].info.id import.duplicate",
                "slaves.slaves[1].deactivated import.shape", "slaves.slaves[2].info.id id.character",
                "slaves.slaves[2].deactivated import.shape", "unreachable.slaves[0].id import.duplicate",
                "unreachable.slaves[0].timestamp.nanoseconds import.shape", "gone import.shape",
            ])
    }

    @Test(
        "one thing is wrong",
        arguments: [
            ("[]", " import.shape"), ("{", " import.shape"),
            (#"{"minimum_capabilities":[{"capability":"QUOTA_V2"}]}"#, "minimum_capabilities import.shape"),
            (
                #"{"quota_configs":[{"role":"a","limits":{"cpus":{"value":1}}}]}"#, "minimum_capabilities import.shape"
            ),
            (
                #"{"quotas":[{"info":{"role":"a","guarantee":[{"name":"p","type":"SET","set":{"item":["x"]}}]}}]}"#,
                "quotas[0].info quota.legacy-field"
            ),
            (
                #"{"quotas":[{"info":{"role":"a","guarantee":[{"name":"p","type":"SCALAR","scalar":{"value":1},"role":"r"}]}}]}"#,
                "quotas[0].info quota.legacy-field"
            ),
            (
                #"{"quotas":[{"info":{"role":"a","guarantee":[{"name":"p","type":"SCALAR","scalar":{"value":1}},{"name":"p","type":"SCALAR","scalar":{"value":1}}]}}]}"#,
                "quotas[0].info quota.legacy-duplicate"
            ),
            (
                #"{"weights":[{"info":{"role":"a","weight":9007199254740993}}]}"#, "weights[0].info.weight import.shape"
            ),
            (
                #"{"unreachable":{"slaves":[{"id":{"value":"a"},"timestamp":{"nanoseconds":1},"deactivated":true}]}}"#,
                "minimum_capabilities import.shape"
            ),
            (
                #"{"slaves":{"slaves":[{"info":{"hostname":"h","id":{"value":"a"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"r","reservation":{}}]}}]}}"#,
                "slaves.slaves[0].info.resources agent.checkpointed-without-checkpointing"
            ),
            (
                #"{"machines":{"machines":[{"info":{"id":{"hostname":"m"},"mode":"DOWN","unavailability":{"start":{"nanoseconds":0}}}}]}}"#,
                "machines.machines[0] import.shape"
            ),
            (
                #"{"schedules":[{"windows":[{"machine_ids":[{"hostname":"m"}],"unavailability":{"start":{"nanoseconds":0}}}]}]}"#,
                "schedules[0].windows[0].machine_ids[0] import.shape"
            ),
            (
                #"{"resource_provider_registry":{"resource_providers":[{"id":{"value":"p"}}],"removed_resource_providers":[{"id":{"value":"p"}}]}}"#,
                "resource_provider_registry.removed_resource_providers[0].id import.duplicate"
            ),
            (#"{"gone":{"":1}}"#, "gone import.shape"),
        ])
    func oneProblem(text: String, expected: String) {
        #expect(problems(text) == [expected])
    }

    @Test("what is too large to be kept is refused, and what just fits is not")
    func sizes() throws {
        func agent(_ size: Int) -> String {
            #"{"slaves":{"slaves":[{"info":{"hostname":"h","id":{"value":"a"},"x":""#
                + String(repeating: "x", count: size) + #""}}]}}"#
        }
        #expect(problems(agent(65_536)) == ["slaves.slaves[0].info import.shape"])
        let fits = agent(65_535 - #"{"x":""}"#.utf8.count)
        #expect(try imported(fits) == canonical(fits))
        let resource = #"{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"*"}"#
        func resources(_ count: Int) -> String {
            #"{"slaves":{"slaves":[{"info":{"hostname":"h","id":{"value":"a"},"resources":["#
                + [String](repeating: resource, count: count).joined(separator: ",") + "]}}]}}"
        }
        #expect(problems(resources(ImportRecord.resourcesMax + 1)) == ["slaves.slaves[0].info.resources import.shape"])
        let many = resources(ImportRecord.resourcesMax / 2)
        #expect(try imported(many) == canonical(many))
    }

    @Test("names that are not UTF-8 have no place in a document")
    func notText() throws {
        let registry = Registry()
        try registry.call(.weightsUpdate([Weight(role: [0xFF], weight: 2)]))
        #expect {
            _ = try registry.document()
        } throws: { error in
            (error as? DocumentWriter.Refusal)?.description.hasPrefix("weights[0].info.role: ") ?? false
        }
    }

    @Test("chunks hold at most what one command may, and are the same for the same records")
    func chunks() throws {
        let agents = (0..<4_000).map {
            #"{"info":{"hostname":"h\#($0)","id":{"value":"a\#($0)"},"x":"\#(String(repeating: "y", count: 400))"}}"#
        }
        let document = try RegistryDocument(
            Array((#"{"slaves":{"slaves":["# + agents.joined(separator: ",") + "]}}").utf8))
        let chunks = ImportRecord.chunks(of: document.records)
        #expect(chunks.count > 1 && Array(chunks.joined()) == document.records)
        for (number, chunk) in chunks.enumerated() {
            let command = RegistryCommand.importChunk(
                id: [UInt8](repeating: 7, count: 16), number: UInt64(number), isLast: false, chunk)
            #expect(command.encoded().count <= RegistryCommand.importSizeMax)
            #expect(try RegistryCommand(command.encoded()) == command)
        }
        #expect(ImportRecord.chunks(of: document.records) == chunks)
        #expect(ImportRecord.chunks(of: []) == [[]])
    }
}
