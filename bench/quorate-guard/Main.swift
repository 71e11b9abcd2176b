import Glibc

/// Does a fixed piece of work so many times, for a tool that counts instructions: quorate-guard WORKLOAD COUNT DIRECTORY, an
/// empty one. Without arguments it names the workloads.
@main struct Guard {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.isEmpty {
            for workload in Workload.allCases { print(workload.rawValue) }
            return
        }
        guard arguments.count == 3, let workload = Workload(rawValue: arguments[1]), let count = Int(arguments[2]), count > 0
        else {
            print("usage: quorate-guard WORKLOAD COUNT DIRECTORY; without arguments it names the workloads")
            exit(2)
        }
        try workload.run(count, in: arguments[3])
    }
}
