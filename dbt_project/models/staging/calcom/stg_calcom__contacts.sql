{{ booked_contacts('calcom', 'bookings', 'createdAt') }}
