// The agent client of Go's x/crypto: login PORT USER HOSTKEY logs in by what the agent in SSH_AUTH_SOCK holds.
// Prints a line "key TYPE COMMENT" for each identity and what `echo in` said at the other end.
package main

import (
	"fmt"
	"log"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	must(err)
	client := agent.NewClient(conn)
	keys, err := client.List()
	must(err)
	for _, k := range keys {
		fmt.Println("key", k.Format, k.Comment)
	}
	text, err := os.ReadFile(os.Args[3])
	must(err)
	host, _, _, _, err := ssh.ParseAuthorizedKey(text)
	must(err)
	connection, err := ssh.Dial("tcp", "127.0.0.1:"+os.Args[1], &ssh.ClientConfig{
		User:            os.Args[2],
		Auth:            []ssh.AuthMethod{ssh.PublicKeysCallback(client.Signers)},
		HostKeyCallback: ssh.FixedHostKey(host),
	})
	must(err)
	session, err := connection.NewSession()
	must(err)
	out, err := session.Output("echo in")
	must(err)
	fmt.Print(string(out))
}
