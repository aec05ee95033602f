module terraform

go 1.21.0

require github.com/svix/svix-webhooks v1.96.1

require github.com/google/uuid v1.6.0 // indirect
