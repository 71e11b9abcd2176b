import Client
import Foundation
import Testing

extension ServerTests {
    /// Nodes and clients that know each other by certificates which `ops/certificates` made.
    @Suite struct TLSTests {
        @Test("three nodes under TLS: writes and reads by library and command, and a failover", .timeLimit(.minutes(2)))
        func clusterUnderTLS() async throws {
            try await withCluster(certificates: try await Certificates()) { cluster in
                let certificates = try #require(cluster.certificates)
                let client = cluster.client()
                try await client.put("library", "1")
                #expect(try await client.get("library")?.value == Array("1".utf8))

                let endpoints = ["--endpoints", cluster.endpoints.joined(separator: ",")]
                let put = try await cluster.run(["put", "command", "2"] + endpoints + certificates.flags("client"))
                #expect(put.ending == .exited(0), "\(put.errors)")
                // A node's certificate serves a person on that node as well.
                let get = try await cluster.run(["get", "command"] + endpoints + certificates.flags("n2"))
                #expect(get.ending == .exited(0), "\(get.errors)")
                #expect(get.output == "2\n")
                let status = try await cluster.run(["status", "--json"] + endpoints + certificates.flags("client"))
                #expect(status.ending == .exited(0), "\(status.output)\(status.errors)")

                let workload = Workload(cluster, writers: 2)
                try await workload.waitForProgress(20)
                let leader = try await cluster.leader().name
                try await cluster.kill(leader)
                try await workload.waitForProgress(20)
                try cluster.start(leader)
                try await cluster.waitUntilWhole()
                try await Workload.check(await workload.stop(), on: cluster)
                await client.shutdown()
            }
        }

        @Test("who is refused, and why, is said on both sides; a node says it once", .timeLimit(.minutes(3)))
        func refusals() async throws {
            let strangers = try await Certificates()
            try await withCluster(nodes: 1, certificates: try await Certificates(["n1"], days: 10)) { cluster in
                let certificates = try #require(cluster.certificates)
                try await certificates.makeExpired("old")
                let node = cluster["n1"]
                let ownAuthority = "\(certificates.directory)/ca.pem"

                func refuse(
                    _ address: String, _ flags: [String], client expected: String, node logged: String,
                    sourceLocation: SourceLocation = #_sourceLocation
                ) async throws {
                    for _ in 0..<2 {
                        let get = try await cluster.run(
                            ["get", "k", "--timeout", "1s", "--endpoints", address] + flags)
                        #expect(get.ending == .exited(1), sourceLocation: sourceLocation)
                        #expect(get.errors.contains(expected), "\(get.errors)", sourceLocation: sourceLocation)
                    }
                    let lines = try cluster.log("n1").split(separator: "\n").filter { $0.contains(logged) }
                    #expect(lines.count == 1, "\(lines)", sourceLocation: sourceLocation)
                }

                #expect(try cluster.log("n1").contains("this node's certificate expires on 20"))
                // A stranger who trusts our nodes: the node does not trust it.
                try await refuse(
                    node.client, strangers.flags("client", authority: ownAuthority),
                    client: "both sides need certificates of one CA", node: "was not signed by a CA in \(ownAuthority)")
                // One who trusts other nodes than ours.
                try await refuse(
                    node.client, strangers.flags("client"),
                    client: "was not signed by a CA in \(strangers.directory)/ca.pem (--tls-ca)",
                    node: "it does not know the CA that signed it")
                try await refuse(
                    node.client, certificates.flags("old"), client: "it has expired; renew it",
                    node: "its certificate expired on 20")
                try await refuse(
                    node.peer, certificates.flags("client"), client: "is no client port of a node",
                    node: "this port is for nodes only")
                try await refuse(
                    node.client, [], client: "it speaks TLS: give --tls-cert, --tls-key and --tls-ca",
                    node: "it speaks plain text, and this port TLS")
            }
        }

        @Test("TLS on a plain port is refused on both sides with what to do", .timeLimit(.minutes(1)))
        func plainCluster() async throws {
            let certificates = try await Certificates()
            try await withCluster(nodes: 1) { cluster in
                let get = try await cluster.run(
                    ["get", "k", "--timeout", "1s", "--endpoints", cluster.endpoints[0]] + certificates.flags("client"))
                #expect(get.ending == .exited(1))
                #expect(get.errors.contains("it answers in plain text"), "\(get.errors)")
                #expect(try cluster.log("n1").contains("it speaks TLS, and this node was started without --tls-cert"))
            }
        }

        @Test("a node whose files cannot be used does not start, and says which", .timeLimit(.minutes(1)))
        func unusableFiles() async throws {
            let certificates = try await Certificates(["n1", "n2"])
            let directory = certificates.directory
            func start(_ flags: [String]) async throws -> String {
                let serve = try await Command.run(
                    try Binary.path(),
                    ["serve", "--name", "n1", "--data", "\(directory)/data", "--client", "127.0.0.1:1", "--peer", "127.0.0.1:2"]
                        + flags, in: directory)
                #expect(serve.ending == .exited(1) || serve.ending == .exited(2))
                return serve.output + serve.errors
            }
            #expect(try await start(certificates.flags("n2")).contains("is that of n2: the node n1 needs one with the name"))
            #expect(try await start(certificates.flags("client")).contains("names no node"))
            #expect(try await start(certificates.flags("nobody")).contains("nobody.pem (--tls-cert): No such file"))
            var mixed = certificates.flags("n1")
            mixed[3] = "\(directory)/n2.key"
            #expect(try await start(mixed).contains("is not that of the certificate"))
            #expect(try await start(Array(mixed.prefix(4))).contains("--tls-ca is missing"))
            #expect(!FileManager.default.fileExists(atPath: "\(directory)/data"))
        }

        @Test("a certificate speaks for the nodes that it names and for no other", .timeLimit(.minutes(1)))
        func namesOfNodes() async throws {
            let certificates = try await Certificates()
            try await withCluster(nodes: 1, certificates: certificates) { cluster in
                let directory = certificates.directory
                try Data(Self.hello(of: "n1")).write(to: URL(filePath: "\(directory)/hello"))
                let call =
                    "timeout 20 openssl s_client -connect \(cluster["n1"].peer) -CAfile \(directory)/ca.pem -quiet -ign_eof "
                    + "-alpn quorate-peer/1 -cert \(directory)/n2.pem -key \(directory)/n2.key < \(directory)/hello "
                    + "| tr -cd '[:print:]'"
                let answer = try await Command.run("/bin/bash", ["-c", call], in: directory)
                #expect(answer.output.contains("is that of n2: n1 needs one with the name quorate://peer/n1"))
                #expect(try cluster.log("n1").contains("is that of n2: n1 needs one"))
            }
            // A list in which two nodes have changed places is noticed before anything is founded.
            let cluster = try Cluster(certificates: certificates)
            let swapped = "n1=\(cluster["n1"].peer),n2=\(cluster["n3"].peer),n3=\(cluster["n2"].peer)"
            var processes: [ChildProcess] = []
            for name in cluster.names {
                var arguments = cluster.arguments(of: name)
                if name == "n1", let place = arguments.firstIndex(of: cluster.founders) { arguments[place] = swapped }
                processes.append(
                    try ChildProcess(cluster.executable, arguments, outputPath: cluster.logPath(name)))
            }
            try await eventually("init is refused because of the names") {
                let founding = try await cluster.run(
                    ["init", "--endpoints", cluster.endpoints[0]] + certificates.flags("client"))
                return founding.ending == .exited(1) && founding.errors.contains("is not that of n")
            }
            for process in processes { try await process.killAndWait() }
            try FileManager.default.removeItem(atPath: cluster.directory)
        }

        /// The first frame of a node that calls itself `name`.
        private static func hello(of name: String) -> [UInt8] {
            var body = Bytes()
            for number: UInt16 in [1, 1] { body.append(number) }
            body.append(UInt8(1))
            for _ in 0..<4 { body.append(UInt64.random(in: 1...UInt64.max)) }
            body.append16(Array(name.utf8))
            body.append(UInt64(0))
            for text in ["127.0.0.1:1", "127.0.0.1:2", "1"] { body.append16(Array(text.utf8)) }
            body.append(UInt32(1))
            for _ in ["last index", "index of the configuration"] { body.append(UInt64(0)) }
            return Frame.bytes(kind: 256, id: 1, body: body)
        }

        @Test(
            "CA and certificates are replaced under load without a failed request, and the old ones open nothing then",
            .timeLimit(.minutes(3)))
        func replacement() async throws {
            try await withCluster(certificates: try await Certificates()) { cluster in
                let certificates = try #require(cluster.certificates)
                let old = "\(certificates.directory)/old"
                try FileManager.default.createDirectory(atPath: old, withIntermediateDirectories: false)
                for name in ["ca.pem", "client.pem", "client.key"] {
                    try FileManager.default.copyItem(atPath: "\(certificates.directory)/\(name)", toPath: "\(old)/\(name)")
                }
                let fresh = "\(certificates.directory)/fresh"
                try await certificates.make(cluster.names, in: fresh)
                func renewed(_ name: String) throws -> Data { try Data(contentsOf: URL(filePath: "\(fresh)/\(name)")) }

                let workload = Workload(cluster, writers: 2)
                try await workload.waitForProgress(20)

                // First everybody trusts both authorities, then gets certificates of the new one, then forgets the old one.
                try certificates.write(try certificates.contents("ca.pem") + renewed("ca.pem"), to: "ca.pem")
                try await waitUntilReloaded(cluster, times: 1)
                for name in cluster.names + ["client"] {
                    try certificates.write(try renewed("\(name).pem"), to: "\(name).pem")
                    try certificates.write(try renewed("\(name).key"), to: "\(name).key")
                }
                try await waitUntilReloaded(cluster, times: 2)
                // New connections of every kind, while both are trusted.
                let leader = try await cluster.leader().name
                #expect(try await cluster.stop(leader) == [.exited(0)])
                try cluster.start(leader)
                try await cluster.waitUntilWhole()
                try await workload.waitForProgress(20)
                try certificates.write(try renewed("ca.pem"), to: "ca.pem")
                for name in cluster.names {
                    try await eventually("\(name) forgets the old CA") {
                        let get = try await cluster.run(
                            ["get", "k", "--timeout", "1s", "--endpoints", cluster[name].client]
                                + certificates.flags("old/client"))
                        return get.ending == .exited(1) && get.errors.contains("both sides need certificates of one CA")
                    }
                }
                try await workload.waitForProgress(20)
                let put = try await cluster.run(
                    ["put", "late", "1", "--endpoints", cluster.endpoints[0]] + certificates.flags("client"))
                #expect(put.ending == .exited(0), "\(put.errors)")
                try await Workload.check(await workload.stop(), on: cluster)
            }
        }

        private func waitUntilReloaded(_ cluster: Cluster, times: Int) async throws {
            for name in cluster.names {
                try await eventually("\(name) takes its new files") {
                    let lines = try cluster.log(name).split(separator: "\n")
                    return lines.count { $0.contains("the TLS files have changed and are in use") } >= times
                }
            }
        }
    }
}
