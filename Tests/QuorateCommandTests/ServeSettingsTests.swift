import Basics
import Foundation
import Server
import Testing

@testable import quorate

@Suite("Settings of serve")
struct ServeSettingsTests {
    private let sound = [
        "name": "n1", "data": "/tmp/n1", "client": "127.0.0.1:7400", "peer": "127.0.0.1:7500",
        "cluster": "n1=127.0.0.1:7500,n2=127.0.0.1:7501,n3=127.0.0.1:7502",
    ]

    private func configuration(_ changes: [String: String?]) throws -> ServerConfiguration {
        let values = sound.merging(changes.compactMapValues { $0 }) { $1 }.filter { changes[$0.key] != .some(nil) }
        var settings = ServeSettings()
        settings.overlay(
            Dictionary(
                uniqueKeysWithValues: values.map { name, text in
                    (ServeSetting(rawValue: name)!, ServeSettings.Given(text: text, source: "--\(name)"))
                }))
        return try settings.configuration()
    }

    private func refusal(_ changes: [String: String?]) -> String {
        do {
            _ = try configuration(changes)
            return "accepted"
        } catch {
            let error = error as? CommandError
            return error?.exitCode == 2 ? error!.message : "another error: \(String(describing: error))"
        }
    }

    @Test("Members to join are read as a list; founding and joining exclude each other, and no node joins itself")
    func join() throws {
        let joining = try configuration(["cluster": nil, "join": "127.0.0.1:7501, 127.0.0.1:7502"])
        #expect(joining.join.map(\.description) == ["127.0.0.1:7501", "127.0.0.1:7502"])
        #expect(refusal(["join": "127.0.0.1:7501"]).contains("name only one of them"))
        #expect(refusal(["cluster": nil, "join": "127.0.0.1:7500"]).contains("this node itself"))
        #expect(refusal(["cluster": nil, "join": "n2"]).contains("with peer addresses of members"))
    }

    @Test("Defaults are those of the server, and every setting reaches its field")
    func fields() throws {
        let plain = try configuration([:])
        #expect(plain.name == "n1")
        #expect(plain.engine == .rocksdb)
        #expect(plain.segmentSize == 16 * 1_048_576)
        #expect(plain.diskReserveSize == 256 * 1_048_576)
        #expect(plain.heartbeatInterval == .milliseconds(100))
        #expect(plain.cluster.map(\.name) == ["n1", "n2", "n3"])
        let changed = try configuration([
            "engine": "memory", "heartbeat-interval": "50ms", "election-timeout": "300ms-600ms", "segment-size": "1MiB",
            "log-max": "8MiB", "disk-reserve": "1GiB", "value-size-max": "8MiB", "connections-max": "100",
            "log-level": "debug", "disk-stall-timeout": "1s", "insecure": "true", "client": "0.0.0.0:7400",
            "advertise-client": "10.0.0.1:7400", "http": "10.0.0.1:7600", "log-format": "json", "feed-size": "2MiB",
            "feed-age": "2h",
        ])
        #expect(plain.feedSize == 96 * 1_048_576)
        #expect(plain.feedAge == .seconds(24 * 3_600))
        #expect(changed.feedSize == 2_097_152)
        #expect(changed.feedAge == .seconds(7_200))
        #expect(plain.httpListen == nil)
        #expect(plain.logFormat == .text)
        #expect(changed.httpListen?.description == "10.0.0.1:7600")
        #expect(changed.logFormat == .json)
        #expect(changed.engine == .memory)
        #expect(changed.heartbeatInterval == .milliseconds(50))
        #expect(changed.electionTimeoutMin == .milliseconds(300))
        #expect(changed.electionTimeoutMax == .milliseconds(600))
        #expect(changed.segmentSize == 1_048_576)
        #expect(changed.logSizeMax == 8_388_608)
        #expect(changed.diskReserveSize == 1_073_741_824)
        #expect(changed.valueSizeMax == 8_388_608)
        #expect(changed.connectionsMax == 100)
        #expect(changed.connectionsPerAddressMax == 100)
        #expect(changed.logLevel == .debug)
        #expect(changed.diskStallTimeout == .seconds(1))
        #expect(changed.clientAddress == HostPort(host: "10.0.0.1", port: 7_400))
    }

    @Test("What is missing or misspelt is named together with where it came from")
    func namesTheSource() {
        #expect(refusal(["name": nil]).hasPrefix("--name is missing"))
        #expect(refusal(["client": "7400"]) == "--client: \"7400\" is not HOST:PORT, as in 127.0.0.1:7400")
        #expect(refusal(["engine": "sqlite"]) == "--engine: \"sqlite\" is not one of rocksdb, memory")
        #expect(refusal(["segment-size": "64MB"]).hasPrefix("--segment-size: \"64MB\" is not a number of bytes"))
        #expect(
            refusal(["heartbeat-interval": "100"]).hasPrefix("--heartbeat-interval: \"100\" is not a number and a unit")
        )
        #expect(refusal(["election-timeout": "1s"]).contains("a range of times"))
        #expect(refusal(["cluster": "n1:127.0.0.1:7500"]).contains("NAME=HOST:PORT"))
    }

    @Test("An address that others can reach needs --insecure, and the message says why")
    func insecureAddresses() throws {
        for flag in ["client", "peer"] {
            let message = refusal([flag: "10.0.0.1:7500", "cluster": nil])
            #expect(message.contains("without TLS"))
            #expect(message.contains("--insecure"))
        }
        #expect(refusal(["client": "127.evil.example:7400"]).contains("--insecure"))
        _ = try configuration(["client": "10.0.0.1:7400", "insecure": "true"])
        _ = try configuration(["client": "[::1]:7400"])
        #expect(refusal(["client": "0.0.0.0:7400", "insecure": "true"]).contains("--advertise-client"))
    }

    @Test("TLS takes three files, opens every address, and excludes --insecure")
    func tls() throws {
        let files = ["tls-cert": "n1.pem", "tls-key": "n1.key", "tls-ca": "ca.pem"]
        let open = try configuration(files.merging(["client": "10.0.0.1:7400"]) { $1 })
        #expect(open.tls == TLSFiles(certificate: "n1.pem", key: "n1.key", authority: "ca.pem"))
        for missing in files.keys {
            var given = files
            given[missing] = nil
            #expect(refusal(given).hasPrefix("--\(missing) is missing"))
        }
        #expect(refusal(files.merging(["insecure": "true"]) { $1 }).contains("leave one of them out"))
        #expect(try configuration([:]).tls == nil)
        // What is scraped from elsewhere is not encrypted, whatever the other two ports speak.
        let scraped = files.merging(["client": "10.0.0.1:7400", "http": "0.0.0.0:7600"]) { $1 }
        #expect(refusal(scraped).contains("--http-insecure"))
        _ = try configuration(scraped.merging(["http-insecure": "true"]) { $1 })
        #expect(refusal(["client": "10.0.0.1:7400", "http-insecure": "true"]).contains("without TLS"))
    }

    @Test("Values are checked against each other")
    func relations() {
        #expect(refusal(["election-timeout": "200ms-400ms"]).contains("3 × --heartbeat-interval"))
        #expect(refusal(["election-timeout": "1s-1s"]).contains("1.2 ×"))
        #expect(refusal(["log-max": "256MiB", "feed-size": "200MiB"]).contains("half of --log-max"))
        #expect(refusal(["feed-age": "10ms"]).contains("--feed-age"))
        #expect(refusal(["log-max": "32MiB"]).contains("at least 4 segments (64MiB)"))
        #expect(refusal(["segment-size": "512KiB"]).contains("from 1MiB to 1GiB"))
        #expect(refusal(["name": "n4"]).contains("does not name this node"))
        #expect(refusal(["peer": "127.0.0.1:7600"]).contains("make them equal"))
        #expect(refusal(["cluster": "n1=127.0.0.1:7500,n1=127.0.0.1:7501"]).contains("names a node twice"))
        #expect(refusal(["cluster": "n1=127.0.0.1:7500,n2=127.0.0.1:7500"]).contains("the same address"))
        #expect(refusal(["client": "127.0.0.1:7500"]).contains("two different ports"))
        #expect(refusal(["http": "127.0.0.1:7500"]).contains("--http and --peer need two different ports"))
        #expect(refusal(["http": "0.0.0.0:7600"]).contains("--http-insecure"))
        #expect(refusal(["log-format": "xml"]).contains("one of text, json"))
        #expect(refusal(["connections-per-address": "20000"]).contains("--connections-max"))
        #expect(refusal(["name": "a=b", "cluster": nil]).contains("no '='"))
    }

    @Test("The file speaks TOML, with the flags' names and a table for the cluster")
    func file() throws {
        let values = try ConfigurationFile.parse(
            """
            name = "n1"   # a comment
            connections-max = 500
            insecure = true
            election-timeout = "1s-2s"
            [cluster]
            n2 = "127.0.0.1:7501"
            n1 = "127.0.0.1:7500"
            """, path: "quorate.toml")
        #expect(values[.name]?.text == "n1")
        #expect(values[.name]?.source == "quorate.toml, name")
        #expect(values[.connectionsMax]?.text == "500")
        #expect(values[.insecure]?.text == "true")
        #expect(values[.cluster]?.text == "n1=127.0.0.1:7500,n2=127.0.0.1:7501")
        let list = try ConfigurationFile.parse(#"cluster = ["n1=127.0.0.1:7500", "n2=127.0.0.1:7501"]"#, path: "f")
        #expect(list[.cluster]?.text == "n1=127.0.0.1:7500,n2=127.0.0.1:7501")
    }

    @Test("The example in the operator's guide is a sound configuration")
    func documentedExample() throws {
        let guide = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("docs/OPERATIONS.md")
        let text = String(decoding: try Data(contentsOf: guide), as: UTF8.self)
        let example = try #require(
            text.components(separatedBy: "```toml\n").dropFirst().first?.components(separatedBy: "```").first)
        var settings = ServeSettings()
        settings.overlay(try ConfigurationFile.parse(example, path: "example"))
        let configuration = try settings.configuration()
        #expect(configuration.cluster.count == 3)
        #expect(configuration.tls != nil)
        for setting in ServeSetting.allCases {
            #expect(text.contains("`\(setting.rawValue)`"), "the guide does not explain \(setting.rawValue)")
        }
    }

    @Test(
        "What the TOML library would stop the process over is refused",
        arguments: [
            "[", "[\n", "[=]", "[ .a]", "[\u{1}name]", "\u{A0}[[\t#", "[\u{E9}]", "[]", "[[ ]]", "join = [1, }]",
            "join = [}", "join = [ # '\n }", "join = ['''\n''',}]", #"join = ["\"", }]"#, "join = [\u{2028}",
            "name\u{2028}= 1", "\u{7F}", "name = 'n'\0",
        ])
    func unsoundText(line: String) {
        let error = #expect(throws: CommandError.self) {
            try ConfigurationFile.parse("\u{FEFF}data = \"\"\"\n\"\"\"\"\n" + line, path: "f")
        }
        #expect(error?.exitCode == 2 && error?.message.hasPrefix("f") == true, "\(String(describing: error))")
    }

    @Test("Brackets, braces and other writing in quotes and comments are text, and an array may have lines")
    func quotedText() throws {
        let text = #"""
            name = "[=] \" }" # [=] é
            data = '''
            [=]
            [1, }] '''''
            join = [ # }
              "h:1", '[=]é',
            ]
            """#
        let values = try ConfigurationFile.parse(text, path: "f")
        #expect(values[.name]?.text == #"[=] " }"#)
        #expect(values[.data]?.text == "[=]\n[1, }] ''")
        #expect(values[.join]?.text == "h:1,[=]é")
    }

    @Test("A setting that does not exist, and a file that is no TOML, are refused by name")
    func badFile() {
        #expect(throws: CommandError.self) { try ConfigurationFile.parse("heartbeat = \"1s\"", path: "f") }
        #expect(throws: CommandError.self) { try ConfigurationFile.parse("name = ", path: "f") }
        #expect(throws: CommandError.self) { try ConfigurationFile.parse("name = 2026-01-01", path: "f") }
        #expect(throws: CommandError.self) { try ConfigurationFile.parse("[cluster]\nn1 = 3", path: "f") }
    }

    @Test("The environment goes above the file, and flags above both")
    func precedence() throws {
        var settings = ServeSettings()
        settings.overlay([
            .name: .init(text: "file", source: "file"), .data: .init(text: "file", source: "file"),
            .logLevel: .init(text: "file", source: "file"),
        ])
        settings.overlay(
            ServeSettings.environment {
                ["QUORATE_NAME": "environment", "QUORATE_LOG_LEVEL": "environment", "QUORATE_PEER": ""][$0]
            })
        settings.overlay([.name: .init(text: "flag", source: "--name")])
        #expect(settings.given[.name]?.text == "flag")
        #expect(settings.given[.logLevel] == .init(text: "environment", source: "QUORATE_LOG_LEVEL"))
        #expect(settings.given[.data]?.text == "file")
        #expect(settings.given[.peer] == nil)
    }
}
